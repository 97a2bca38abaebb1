#pragma once

#include <torch/torch.h>

#include <vector>

#include "d2dmoe/eval/setting.h"

namespace d2dmoe::eval {

/// Share of the experts that each token row of the running batch executed, weighted by the sites' widths.
class RowShares : public nn::Observer {
 public:
  explicit RowShares(models::Model& model) {
    for (const auto& site : converted_sites(model)) {
      width_.resize(static_cast<size_t>(site.id.index) + 1);
      width_.back() = static_cast<double>(site.layer->weights().hidden());
    }
    for (const double width : width_) total_ += width;
  }
  /// Whether the model has converted sites.
  bool any() const { return total_ > 0; }
  /// A batch of so many token rows follows.
  void begin(int64_t rows) { sum_ = torch::zeros({rows}, torch::kFloat64); }
  void on_routing(const nn::SiteId& site, const torch::Tensor&, const torch::Tensor& mask, bool) override {
    sum_ +=
        mask.to(torch::kCPU, torch::kFloat64).mean(1) * (width_.at(static_cast<size_t>(site.index)) / total_);
  }
  const torch::Tensor& rows() const { return sum_; }  // [N] float64

 private:
  std::vector<double> width_;  // by site index
  double total_ = 0;
  torch::Tensor sum_;
};

}  // namespace d2dmoe::eval
