#include "d2dmoe/train/feature_distillation.h"

#include "d2dmoe/core/error.h"

namespace d2dmoe::train {
namespace {

constexpr double kLeastNorm = 1e-12;  // instead of 0, where the teacher's row is all zeros

}  // namespace

void FeatureObserver::on_input(const nn::SiteId& site, const torch::Tensor& x) {
  if (site.kind == nn::SiteKind::ffn) by_layer_[site.layer] = x;
}

torch::Tensor feature_distance(const FeatureObserver& student, const FeatureObserver& teacher) {
  const auto &ours = student.by_layer(), &theirs = teacher.by_layer();
  D2D_CHECK_USAGE(
      !ours.empty() && ours.size() == theirs.size(),
      "[config] 'train_sparse.distill.features': the student has {} layers, the teacher {}. Hint: "
      "only a teacher of the same shape can be imitated layer by layer; set it to 0",
      ours.size(), theirs.size());
  torch::Tensor sum;
  for (const auto& [layer, s] : ours) {
    const auto found = theirs.find(layer);
    D2D_CHECK_USAGE(
        found != theirs.end() && found->second.sizes() == s.sizes(),
        "[config] 'train_sparse.distill.features': the teacher's layer {} is missing or not {} wide, as the "
        "student's is. Hint: only a teacher of the same shape can be imitated layer by layer; set it to 0",
        layer, s.size(-1));
    const auto t = found->second.to(torch::kFloat32);
    const auto distance = (s.to(torch::kFloat32) - t).square().sum(-1);
    const auto relative = (distance / t.square().sum(-1).clamp_min(kLeastNorm)).mean();
    sum = sum.defined() ? sum + relative : relative;
  }
  return sum / static_cast<double>(ours.size());
}

}  // namespace d2dmoe::train
