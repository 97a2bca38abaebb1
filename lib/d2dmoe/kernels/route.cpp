#include "d2dmoe/kernels/route.h"

#include <ATen/ATen.h>

#include "d2dmoe/core/device.h"
#include "d2dmoe/core/error.h"
#include "d2dmoe/kernels/cpu/bf16_operands.h"
#include "d2dmoe/kernels/cpu/route.h"

namespace d2dmoe::kernels {
namespace {

PackedRouter::Layer pack_float32(const torch::Tensor& weight) {
  constexpr int64_t kPanel = cpu::kRoutePanel;
  const int64_t outputs = weight.size(0), inputs = weight.size(1);
  const int64_t panels = (outputs + kPanel - 1) / kPanel;
  torch::Tensor padded = at::zeros({panels * kPanel, inputs}, weight.options());
  padded.narrow(0, 0, outputs).copy_(weight);
  torch::Tensor packed = at::zeros({panels, inputs + 1, kPanel}, weight.options());
  packed.narrow(1, 0, inputs).copy_(padded.view({panels, kPanel, inputs}).transpose(1, 2));
  return {packed, inputs, outputs};
}

PackedRouter::Layer pack_bfloat16(const torch::Tensor& weight) {
  constexpr int64_t kLanes = cpu::kPanelLanes, kDepths = cpu::kDepthMultiple;
  const int64_t outputs = weight.size(0), inputs = weight.size(1);
  const int64_t panels = (outputs + kLanes - 1) / kLanes;
  const int64_t depths = cpu::bf16::round_up(inputs, kDepths);
  torch::Tensor padded = at::zeros({panels * kLanes, depths}, weight.options().dtype(at::kBFloat16));
  padded.narrow(0, 0, outputs).narrow(1, 0, inputs).copy_(weight);
  return {padded.view({panels, kLanes, depths / 2, 2}).transpose(1, 2).contiguous(), inputs, outputs};
}

}  // namespace

PackedRouter pack_router(const std::vector<torch::Tensor>& weights, at::ScalarType dtype) {
  D2D_CHECK(dtype == at::kFloat || dtype == at::kBFloat16,
            "[route] 'dtype': got {}, must be float32 or bfloat16", dtype_name(dtype));
  D2D_CHECK(!weights.empty(), "[route] 'weights': got no layer, must be at least 1");
  const at::NoGradGuard no_grad;
  PackedRouter router;
  router.dtype = dtype;
  for (size_t i = 0; i < weights.size(); ++i) {
    const torch::Tensor& w = weights[i];
    D2D_CHECK(w.defined() && w.dim() == 2 && w.scalar_type() == at::kFloat && w.is_cpu(),
              "[route] 'weights' {}: must be [outputs, inputs] float32 on the CPU", i);
    D2D_CHECK(w.size(0) >= 1 && w.size(1) >= 1, "[route] 'weights' {}: got shape {}, must not be empty", i,
              w.sizes().vec());
    D2D_CHECK(i == 0 || w.size(1) == weights[i - 1].size(0),
              "[route] 'weights' {}: got {} inputs, must be {} like the outputs before it", i, w.size(1),
              i == 0 ? 0 : weights[i - 1].size(0));
    router.layers.push_back(dtype == at::kFloat ? pack_float32(w.detach()) : pack_bfloat16(w.detach()));
  }
  return router;
}

Routing route(const torch::Tensor& x, const PackedRouter& router, int64_t shared, MarkRow mark) {
  D2D_CHECK(x.defined() && x.dim() == 2 && x.size(1) == router.d_in() && x.is_cpu(),
            "[route] 'x': got {}, must be [rows, {}] on the CPU",
            x.defined() ? format("shape {}", x.sizes().vec()) : "nothing", router.d_in());
  D2D_CHECK(x.scalar_type() == router.dtype, "[route] 'x': got {}, must be {} like the packed router",
            dtype_name(x.scalar_type()), dtype_name(router.dtype));
  D2D_CHECK(shared >= 0, "[route] 'shared': got {}, must be >= 0", shared);
  const torch::Tensor rows = x.stride(1) == 1 || x.size(1) <= 1 ? x : x.contiguous();
  const int64_t experts = shared + router.experts();
  Routing out;
  out.scores = at::empty({x.size(0), experts}, at::TensorOptions(at::kFloat));
  out.mask = at::empty({x.size(0), experts}, at::TensorOptions(at::kBool));

  std::vector<cpu::RouteLayer> layers;
  layers.reserve(router.layers.size());
  for (const PackedRouter::Layer& layer : router.layers)
    layers.push_back({layer.panels.const_data_ptr(), layer.inputs, layer.outputs});
  cpu::RouteArgs args;
  args.x = rows.const_data_ptr();
  args.bfloat16 = x.scalar_type() == at::kBFloat16;
  args.rows = x.size(0), args.x_stride = rows.stride(0);
  args.layers = layers.data(), args.depth = static_cast<int64_t>(layers.size());
  args.shared = shared, args.experts = experts;
  args.scores = out.scores.mutable_data_ptr<float>();
  args.mask = out.mask.mutable_data_ptr<bool>();
  const cpu::RouteCount count = cpu::route(args, mark);
  out.pairs = count.pairs, out.usable = count.usable;
  return out;
}

}  // namespace d2dmoe::kernels
