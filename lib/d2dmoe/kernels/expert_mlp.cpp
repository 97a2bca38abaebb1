#include "d2dmoe/kernels/expert_mlp.h"

#include <ATen/ATen.h>
#include <c10/core/DeviceGuard.h>

#include "d2dmoe/core/error.h"
#include "d2dmoe/kernels/cpu/expert_mlp.h"
#include "d2dmoe/kernels/cuda/expert_mlp.h"
#include "d2dmoe/kernels/device_call.h"
#include "d2dmoe/kernels/expert_mlp_checks.h"
#include "d2dmoe/kernels/expert_mlp_gradient.h"
#include "d2dmoe/kernels/fast_linear.h"

namespace d2dmoe::kernels {
namespace {

// The tensors behind ExpertMlpArgs, contiguous, kept alive for the call.
struct Operands {
  torch::Tensor x, mask, w1, b1, wu, bu, w2t, b2, y;
};

Operands make_operands(const torch::Tensor& x, const torch::Tensor& mask, const MlpWeights& w) {
  const auto packed = [](const torch::Tensor& t) { return t.defined() ? t.contiguous() : t; };
  const bool rows_are_packed = x.stride(1) == 1 || x.size(1) <= 1;
  return {rows_are_packed ? x : x.contiguous(),
          mask.contiguous(),
          packed(w.w1),
          packed(w.b1),
          packed(w.wu),
          packed(w.bu),
          packed(w.w2t),
          packed(w.b2),
          at::empty({x.size(0), w.d_out()}, x.options())};
}

ExpertMlpArgs make_args(const Operands& o, Activation activation) {
  const auto data = [](const torch::Tensor& t) { return t.defined() ? t.const_data_ptr() : nullptr; };
  ExpertMlpArgs args;
  args.x = data(o.x), args.w1 = data(o.w1), args.b1 = data(o.b1), args.wu = data(o.wu), args.bu = data(o.bu);
  args.w2t = data(o.w2t), args.b2 = data(o.b2);
  args.mask = reinterpret_cast<const uint8_t*>(o.mask.const_data_ptr<bool>());
  args.y = o.y.data_ptr();
  args.rows = o.x.size(0), args.x_stride = o.x.stride(0), args.d_in = o.x.size(1);
  args.hidden = o.w1.size(0), args.d_out = o.w2t.size(1), args.experts = o.mask.size(1);
  args.activation = activation;
  const auto element = element_of(o.x.scalar_type());
  D2D_CHECK(element, "[expert_mlp] 'x': got {}, no kernel computes with it",
            c10::toString(o.x.scalar_type()));
  args.element = *element;
  return args;
}

torch::Tensor run_cuda(const torch::Tensor& x, const torch::Tensor& mask, const MlpWeights& w) {
  const Operands operands = make_operands(x, mask, w);
  const ExpertMlpArgs args = make_args(operands, w.activation);
  const auto bytes = static_cast<int64_t>(cuda::workspace_bytes(args));
  const torch::Tensor workspace = at::empty({bytes}, x.options().dtype(at::kByte));
  const c10::DeviceGuard guard(x.device());
  const char* failure = cuda::expert_mlp(args, workspace.data_ptr(), stream_of(x));
  D2D_CHECK(!failure, "[expert_mlp] on {}: {}", x.device().str(), failure);
  return operands.y;
}

}  // namespace

bool has_kernel(const torch::Tensor& x) {
  if (!element_of(x.scalar_type())) return false;
  if (x.is_cpu()) return x.scalar_type() != at::kHalf;
  return x.is_cuda() && cuda::available(x.device().index());
}

torch::Tensor dense_mlp(const torch::Tensor& x, const MlpWeights& w) {
  check_mlp("dense_mlp", x, w);
  const bool in_place = !wants_gradient(x, w);
  torch::Tensor h = fast_linear(x, w.w1, w.b1);
  if (in_place)
    activate_in_place(h, w.activation);
  else
    h = activate(h, w.activation);
  if (w.gated()) {
    const torch::Tensor up = fast_linear(x, w.wu, w.bu);
    h = in_place ? h.mul_(up) : h * up;
  }
  return fast_linear_transposed(h, w.w2t, w.b2);
}

torch::Tensor expert_mlp(const torch::Tensor& x, const torch::Tensor& mask, const MlpWeights& w) {
  check_expert_mlp("expert_mlp", x, mask, w);
  if (wants_gradient(x, w))
    return has_backward(x) ? expert_mlp_differentiable(x, mask, w) : expert_mlp_generic(x, mask, w);
  if (!has_kernel(x)) return expert_mlp_generic(x, mask, w);
  if (!x.is_cpu()) return run_cuda(x, mask, w);
  const Operands operands = make_operands(x, mask, w);
  cpu::expert_mlp(make_args(operands, w.activation));
  return operands.y;
}

}  // namespace d2dmoe::kernels
