#pragma once

#include <torch/cuda.h>
#include <torch/types.h>

#include <chrono>

namespace d2dmoe::bench {

/// Milliseconds of a run whose result is ready when the clock stops, on whatever device it lies.
/// @param run  returns a tensor
template <class Run>
double run_ms(Run run) {
  using Clock = std::chrono::steady_clock;
  const auto start = Clock::now();
  const torch::Tensor result = run();
  if (result.is_cuda()) torch::cuda::synchronize(result.device().index());
  return std::chrono::duration<double, std::milli>(Clock::now() - start).count();
}

}  // namespace d2dmoe::bench
