#include "d2dmoe/kernels/device_call.h"

#include <c10/core/DeviceGuard.h>
#include <c10/core/impl/VirtualGuardImpl.h>

#include "d2dmoe/kernels/cuda/expert_mlp.h"

namespace d2dmoe::kernels {
namespace {

c10::Stream current_stream(const torch::Tensor& t) {
  return c10::impl::VirtualGuardImpl(t.device().type()).getStream(t.device());
}

}  // namespace

std::optional<Element> element_of(at::ScalarType type) {
  if (type == at::kFloat) return Element::float32;
  if (type == at::kBFloat16) return Element::bfloat16;
  if (type == at::kHalf) return Element::float16;
  return std::nullopt;
}

void* stream_of(const torch::Tensor& t) {
  return current_stream(t).native_handle();
}

void wait_for(const torch::Tensor& t) {
  current_stream(t).synchronize();
}

bool is_captured(const torch::Tensor& t) {
  const c10::DeviceGuard guard(t.device());
  return t.is_cuda() && cuda::captures(stream_of(t));
}

}  // namespace d2dmoe::kernels
