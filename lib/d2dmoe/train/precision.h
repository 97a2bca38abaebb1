#pragma once

#include <torch/types.h>

#include <string>

namespace d2dmoe::train {

/// The dtype of the matrix products that an option names (config::kDtypes). "auto" is bfloat16 on CUDA and on
/// CPUs with AVX-512 BF16 (every CPU with AMX has it too), else float32: emulated bfloat16 is slower than
/// float32.
torch::ScalarType training_dtype(const std::string& name, torch::Device device);

/// Autocast for one scope: linear layers and matrix products run in `dtype`, weights stay float32. float32
/// switches autocast off. The forward pass belongs inside, the backward pass outside.
class AutocastScope {
 public:
  AutocastScope(torch::Device device, torch::ScalarType dtype);
  ~AutocastScope();
  AutocastScope(const AutocastScope&) = delete;
  AutocastScope& operator=(const AutocastScope&) = delete;

 private:
  torch::DeviceType device_;
  bool enabled_before_;
  torch::ScalarType dtype_before_;
};

/// Makes the C library keep the memory of freed activations for the next step instead of giving it back to
/// the system page by page: without it, page faults of large buffers take a good share of a CPU training
/// step.
void keep_freed_memory();

}  // namespace d2dmoe::train
