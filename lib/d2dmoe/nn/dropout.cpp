#include "d2dmoe/nn/dropout.h"

#include <ATen/CPUGeneratorImpl.h>
#include <ATen/Dispatch.h>
#include <ATen/Functions.h>
#include <ATen/Parallel.h>
#include <torch/csrc/autograd/custom_function.h>

#include <algorithm>
#include <cmath>

namespace d2dmoe::nn {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

constexpr int64_t kLanes = 4;  // elements decided by one random number of 64 bits
constexpr uint32_t kLaneRange = 1 << 16;

// SplitMix64 of a counter: any element's bits can be computed by any thread.
uint64_t random_bits(uint64_t seed, int64_t block) {
  uint64_t z = seed + (static_cast<uint64_t>(block) + 1) * 0x9e3779b97f4a7c15;
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
  z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
  return z ^ (z >> 31);
}

template <class T>
void drop(const T* x, T* out, int64_t size, uint64_t seed, uint32_t threshold) {
  const float scale = static_cast<float>(kLaneRange) / static_cast<float>(kLaneRange - threshold);
  at::parallel_for(0, (size + kLanes - 1) / kLanes, 1 << 13, [&](int64_t begin, int64_t end) {
    for (int64_t block = begin; block < end; ++block) {
      uint64_t bits = random_bits(seed, block);
      const int64_t first = block * kLanes, last = std::min(first + kLanes, size);
      for (int64_t i = first; i < last; ++i, bits >>= 16)
        out[i] = static_cast<T>(static_cast<float>(x[i]) * ((bits & 0xffff) >= threshold ? scale : 0.0f));
    }
  });
}

torch::Tensor drop(const torch::Tensor& x, uint64_t seed, uint32_t threshold) {
  const auto in = x.contiguous();
  auto out = at::empty_like(in);
  AT_DISPATCH_FLOATING_TYPES_AND2(at::kHalf, at::kBFloat16, in.scalar_type(), "dropout", [&] {
    drop(in.const_data_ptr<scalar_t>(), out.mutable_data_ptr<scalar_t>(), in.numel(), seed, threshold);
  });
  return out;
}

// PyTorch draws a CPU mask on one thread and keeps it, at the size of x, for the backward pass. Here a mask
// is a function of a seed, so that the gradient draws the same mask again and nothing is kept.
struct Dropout : torch::autograd::Function<Dropout> {
  static torch::Tensor forward(AutogradContext* ctx, const torch::Tensor& x, int64_t seed,
                               int64_t threshold) {
    ctx->saved_data["seed"] = seed;
    ctx->saved_data["threshold"] = threshold;
    return drop(x, static_cast<uint64_t>(seed), static_cast<uint32_t>(threshold));
  }
  static variable_list backward(AutogradContext* ctx, const variable_list& grads) {
    return {drop(grads[0], static_cast<uint64_t>(ctx->saved_data["seed"].toInt()),
                 static_cast<uint32_t>(ctx->saved_data["threshold"].toInt())),
            {},
            {}};
  }
};

uint64_t draw_seed() {
  auto generator = at::detail::getDefaultCPUGenerator();
  const std::lock_guard<std::mutex> lock(generator.mutex());
  return at::check_generator<at::CPUGeneratorImpl>(generator)->random64();
}

}  // namespace

torch::Tensor dropout(const torch::Tensor& x, double p, bool training) {
  if (!training || p <= 0) return x;
  if (!x.is_cpu()) return at::dropout(x, p, true);
  const auto threshold = std::min<int64_t>(std::llround(p * kLaneRange), kLaneRange - 1);
  return Dropout::apply(x, static_cast<int64_t>(draw_seed()), threshold);
}

}  // namespace d2dmoe::nn
