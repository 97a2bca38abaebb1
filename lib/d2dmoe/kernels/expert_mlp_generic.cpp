#include <ATen/ATen.h>

#include "d2dmoe/kernels/expert_mlp.h"
#include "d2dmoe/kernels/expert_mlp_checks.h"

namespace d2dmoe::kernels {

torch::Tensor expert_mlp_generic(const torch::Tensor& x, const torch::Tensor& mask, const MlpWeights& w) {
  check_expert_mlp("expert_mlp", x, mask, w);
  const int64_t experts = mask.size(1), size = w.hidden() / experts;
  // Of the transposed mask, nonzero gives the pairs by expert, rows ascending.
  const torch::Tensor rows = mask.t().nonzero().select(1, 1);          // [pairs]
  const torch::Tensor counts = mask.sum(0).to(at::kCPU).contiguous();  // [E]
  // Half-precision outputs of many experts are added in float32: each addition would round again.
  const auto sums = at::promote_types(x.scalar_type(), at::kFloat);
  torch::Tensor y = at::zeros({x.size(0), w.d_out()}, x.options().dtype(sums));
  const auto of_expert = [&](const torch::Tensor& t, int64_t e) {
    return t.defined() ? t.narrow(0, e * size, size) : t;
  };
  int64_t first = 0;
  for (int64_t e = 0; e < experts; ++e) {
    const int64_t count = counts.const_data_ptr<int64_t>()[e];
    if (count == 0) continue;
    const torch::Tensor index = rows.narrow(0, first, count);
    first += count;
    const torch::Tensor xe = count == x.size(0) ? x : x.index_select(0, index);  // [n, D]
    torch::Tensor h = activate(at::linear(xe, of_expert(w.w1, e), of_expert(w.b1, e)), w.activation);
    if (w.gated()) h = h * at::linear(xe, of_expert(w.wu, e), of_expert(w.bu, e));
    y = y.index_add(0, index, at::mm(h, of_expert(w.w2t, e)).to(sums));
  }
  if (w.b2.defined()) y = y + w.b2.to(sums);
  return y.to(x.scalar_type());
}

}  // namespace d2dmoe::kernels
