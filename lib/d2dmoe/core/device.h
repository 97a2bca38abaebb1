#pragma once

#include <torch/types.h>

#include <string>
#include <string_view>

namespace d2dmoe {

/// "auto" (CUDA when LibTorch has it and a device is there, else CPU), "cpu", "cuda" or "cuda:1".
/// @throws UsageError  another text, or a CUDA device that is not there
torch::Device parse_device(std::string_view text);

/// "float32", "bfloat16" or "float16".
/// @throws UsageError  another text
torch::ScalarType parse_dtype(std::string_view text);
std::string dtype_name(torch::ScalarType dtype);

/// CPUs that this process may use: its affinity mask, and the cgroup's quota (rounded up) where there is one.
int available_cpus();

/// Sets the threads of LibTorch and OpenMP; 0 = all cores this process may use. Returns the number in force.
int set_threads(int threads);

/// From here on LibTorch and OpenMP work of the calling thread stays in that thread; other threads keep
/// theirs. For threads that work beside the model.
void stay_in_this_thread();

}  // namespace d2dmoe
