#include "d2dmoe/train/precision.h"

#include <ATen/autocast_mode.h>

#ifdef __GLIBC__
#include <malloc.h>
#endif

#include <limits>

#include "d2dmoe/core/device.h"

namespace d2dmoe::train {

namespace {

bool cpu_has_bfloat16() {
#ifdef __x86_64__
  return __builtin_cpu_supports("avx512bf16");
#else
  return false;
#endif
}

}  // namespace

torch::ScalarType training_dtype(const std::string& name, torch::Device device) {
  if (name != "auto") return parse_dtype(name);
  return device.is_cuda() || cpu_has_bfloat16() ? torch::kBFloat16 : torch::kFloat32;
}

AutocastScope::AutocastScope(torch::Device device, torch::ScalarType dtype)
    : device_(device.type()),
      enabled_before_(at::autocast::is_autocast_enabled(device_)),
      dtype_before_(at::autocast::get_autocast_dtype(device_)) {
  at::autocast::set_autocast_enabled(device_, dtype != torch::kFloat32);
  if (dtype != torch::kFloat32) at::autocast::set_autocast_dtype(device_, dtype);
  at::autocast::increment_nesting();
}

AutocastScope::~AutocastScope() {
  // Casts of weights are cached until the outermost scope ends.
  if (at::autocast::decrement_nesting() == 0) at::autocast::clear_cache();
  at::autocast::set_autocast_enabled(device_, enabled_before_);
  at::autocast::set_autocast_dtype(device_, dtype_before_);
}

void keep_freed_memory() {
#ifdef __GLIBC__
  mallopt(M_MMAP_MAX, 0);
  mallopt(M_TRIM_THRESHOLD, std::numeric_limits<int>::max());
#endif
}

}  // namespace d2dmoe::train
