#include <ATen/ATen.h>

#include "d2dmoe/kernels/expert_mlp.h"
#include "d2dmoe/kernels/expert_mlp_checks.h"

namespace d2dmoe::kernels {

torch::Tensor expert_mlp_reference(const torch::Tensor& x, const torch::Tensor& mask, const MlpWeights& w) {
  check_expert_mlp("expert_mlp_reference", x, mask, w);
  const int64_t experts = mask.size(1), size = w.hidden() / experts;
  const auto wide = [](const torch::Tensor& t) { return t.to(at::kCPU, at::kDouble); };
  const torch::Tensor xd = wide(x), w1 = wide(w.w1), w2t = wide(w.w2t), chosen = mask.to(at::kCPU);
  torch::Tensor y = at::zeros({x.size(0), w.d_out()}, xd.options());
  for (int64_t n = 0; n < x.size(0); ++n) {
    if (w.b2.defined()) y[n] += wide(w.b2);
    for (int64_t e = 0; e < experts; ++e) {
      if (!chosen[n][e].item<bool>()) continue;
      const auto mine = [&](const torch::Tensor& t) { return t.slice(0, e * size, (e + 1) * size); };
      torch::Tensor z = mine(w1).mv(xd[n]);  // [S]
      if (w.b1.defined()) z += mine(wide(w.b1));
      torch::Tensor h = activate(z, w.activation);
      if (w.gated()) {
        torch::Tensor u = mine(wide(w.wu)).mv(xd[n]);
        if (w.bu.defined()) u += mine(wide(w.bu));
        h = h * u;
      }
      y[n] += mine(w2t).t().mv(h);
    }
  }
  return y.to(x.device(), x.scalar_type());
}

}  // namespace d2dmoe::kernels
