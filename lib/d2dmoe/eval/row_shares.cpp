#include "d2dmoe/eval/row_shares.h"

#include <algorithm>

#include "d2dmoe/eval/setting.h"

namespace d2dmoe::eval {

RowShares::RowShares(models::Model& model) {
  const auto sites = converted_sites(model);
  if (sites.empty()) return;
  for (const auto& site : sites) {
    if (layers_.empty() || layers_.back() != site.id.layer) layers_.push_back(site.id.layer);
  }
  const auto count = static_cast<int64_t>(sites.size());
  weights_ = torch::zeros({count}, torch::kFloat64);
  layer_experts_ = torch::zeros({static_cast<int64_t>(layers_.size()), count}, torch::kFloat64);
  experts_.assign(layers_.size(), 0);
  for (int64_t slot = 0; slot < count; ++slot) {
    const auto& site = sites[static_cast<size_t>(slot)];
    const auto layer = std::find(layers_.begin(), layers_.end(), site.id.layer) - layers_.begin();
    slots_[site.id.index] = slot;
    weights_[slot] = static_cast<double>(site.layer->weights().hidden());
    layer_experts_[layer][slot] = static_cast<double>(site.layer->experts());
    experts_[static_cast<size_t>(layer)] += site.layer->experts();
  }
  weights_ /= weights_.sum();
}

void RowShares::begin(int64_t rows) {
  shares_ = torch::zeros({static_cast<int64_t>(slots_.size()), rows}, torch::kFloat64);
}

void RowShares::on_routing(const nn::SiteId& site, const torch::Tensor&, const torch::Tensor& mask, bool) {
  shares_[slots_.at(site.index)] = mask.to(torch::kCPU, torch::kFloat64).mean(1);
}

torch::Tensor RowShares::of_rows(int64_t first, int64_t count) const {
  return weights_.matmul(shares_.narrow(1, first, count));
}

torch::Tensor RowShares::executed(int64_t first, int64_t count) const {
  return layer_experts_.matmul(shares_.narrow(1, first, count));
}

}  // namespace d2dmoe::eval
