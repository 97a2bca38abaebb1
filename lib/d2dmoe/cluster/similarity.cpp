#include "d2dmoe/cluster/similarity.h"

#include <ATen/ATen.h>

namespace d2dmoe::cluster {
namespace {

// 1 / t, and 0 for 0: neurons without weights or activity drop out instead of becoming NaN.
torch::Tensor inverse_or_zero(const torch::Tensor& t) {
  return at::where(t > 0, t.reciprocal(), at::zeros_like(t));
}

}  // namespace

torch::Tensor row_cosines(const torch::Tensor& rows) {
  const torch::Tensor wide = rows.detach().to(at::kFloat);
  const torch::Tensor unit = wide * inverse_or_zero(wide.norm(2, {1}, /*keepdim=*/true));
  return at::mm(unit, unit.t());
}

torch::Tensor activation_cosines(const torch::Tensor& coactivation) {
  const torch::Tensor scale = inverse_or_zero(coactivation.diagonal().clamp_min(0).sqrt());
  return coactivation * scale.unsqueeze(0) * scale.unsqueeze(1);
}

torch::Tensor mixed_cosines(const torch::Tensor& rows, const torch::Tensor& coactivation, double mix) {
  const torch::Tensor weights = row_cosines(rows), dead = coactivation.diagonal() <= 0;
  const torch::Tensor mixed = weights * (1 - mix) + activation_cosines(coactivation) * mix;
  return at::where(dead.unsqueeze(0).logical_or(dead.unsqueeze(1)), weights, mixed);
}

}  // namespace d2dmoe::cluster
