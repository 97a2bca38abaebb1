#include "d2dmoe/cluster/similarity.h"

#include <ATen/ATen.h>

#include <cmath>

namespace d2dmoe::cluster {
namespace {

// 1 / t, and 0 for 0: neurons without weights or activity drop out instead of becoming NaN.
torch::Tensor inverse_or_zero(const torch::Tensor& t) {
  return at::where(t > 0, t.reciprocal(), at::zeros_like(t));
}

}  // namespace

torch::Tensor unit_rows(const torch::Tensor& rows) {
  const torch::Tensor wide = rows.detach().to(at::kFloat);
  return wide * inverse_or_zero(wide.norm(2, {1}, /*keepdim=*/true));
}

torch::Tensor row_cosines(const torch::Tensor& rows) {
  const torch::Tensor unit = unit_rows(rows);
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

torch::Tensor mixed_vectors(const torch::Tensor& rows, const torch::Tensor& activity, double mix) {
  const int64_t weights = rows.size(1), width = weights + activity.size(1);
  torch::Tensor vectors = at::empty({rows.size(0), width}, activity.options().dtype(at::kFloat));
  vectors.narrow(1, 0, weights).copy_(unit_rows(rows)).mul_(std::sqrt(1 - mix));
  vectors.narrow(1, weights, activity.size(1)).copy_(unit_rows(activity)).mul_(std::sqrt(mix));
  return vectors;
}

}  // namespace d2dmoe::cluster
