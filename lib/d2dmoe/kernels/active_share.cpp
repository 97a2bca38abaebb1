#include "d2dmoe/kernels/active_share.h"

#include <ATen/ATen.h>

#include <algorithm>

#include "d2dmoe/kernels/expert_mlp_checks.h"

namespace d2dmoe::kernels {

torch::Tensor first_sums(const torch::Tensor& x, const MlpWeights& w) {
  const at::NoGradGuard no_grad;
  const torch::Tensor bias = w.b1.defined() ? w.b1.detach() : torch::Tensor();
  return at::linear(x.detach().narrow(0, 0, std::min(x.size(0), kActiveRows)), w.w1.detach(), bias);
}

double active_share(const torch::Tensor& x, const torch::Tensor& mask, const MlpWeights& w) {
  check_expert_mlp("active_share", x, mask, w);
  if (w.activation != Activation::relu || x.size(0) == 0) return 1;
  const torch::Tensor z = first_sums(x, w);
  const torch::Tensor chosen = mask.narrow(0, 0, z.size(0));
  const torch::Tensor active = z.gt(0).view({z.size(0), mask.size(1), -1}).to(at::kFloat).mean(2);
  const double count = chosen.sum().item<double>();
  return count == 0 ? 1 : active.mul(chosen).sum().item<double>() / count;
}

}  // namespace d2dmoe::kernels
