#include <ATen/ATen.h>

#include <algorithm>

#include "d2dmoe/core/error.h"
#include "d2dmoe/kernels/expert_mlp.h"

namespace d2dmoe::kernels {
namespace {
// Floats of the [E, rows, S] product that one block of rows may take: 32 MiB.
constexpr int64_t kBlockFloats = int64_t{8} << 20;
}  // namespace

torch::Tensor expert_grams(const MlpWeights& w, int64_t experts) {
  D2D_CHECK(w.w2t.defined() && w.w2t.dim() == 2, "[expert_grams] 'w2t': must be [hidden, d_out]");
  D2D_CHECK(experts > 0 && w.hidden() % experts == 0,
            "[expert_grams] 'experts': got {}, must be a divisor of the {} neurons", experts, w.hidden());
  const torch::Tensor w2 = w.w2t.detach().to(at::kFloat).view({experts, w.hidden() / experts, w.d_out()});
  return at::bmm(w2, w2.transpose(1, 2));
}

torch::Tensor expert_norms(const torch::Tensor& h, const torch::Tensor& grams) {
  D2D_CHECK(grams.defined() && grams.dim() == 3 && grams.size(1) == grams.size(2) &&
                grams.scalar_type() == at::kFloat,
            "[expert_norms] 'grams': must be [experts, size, size] float32");
  const int64_t experts = grams.size(0), size = grams.size(1);
  D2D_CHECK(h.defined() && h.dim() == 2 && h.size(1) == experts * size,
            "[expert_norms] 'h': got {}, must be [rows, {}]",
            h.defined() ? format("shape {}", h.sizes().vec()) : "nothing", experts * size);
  const int64_t rows = h.size(0),
                block = std::max<int64_t>(1, kBlockFloats / std::max<int64_t>(1, h.size(1)));
  torch::Tensor norms = at::empty({rows, experts}, grams.options());
  for (int64_t first = 0; first < rows; first += block) {
    const int64_t count = std::min(block, rows - first);
    const torch::Tensor he =
        h.narrow(0, first, count).to(at::kFloat).view({count, experts, size}).transpose(0, 1);  // [E, n, S]
    const torch::Tensor squares = at::bmm(he, grams).mul_(he).sum(2);                           // [E, n]
    norms.narrow(0, first, count).copy_(squares.clamp_min_(0).sqrt_().t());
  }
  return norms;
}

}  // namespace d2dmoe::kernels
