#pragma once

#include <torch/types.h>

#include <map>
#include <vector>

#include "d2dmoe/models/model.h"

namespace d2dmoe::eval {

/// Sees which share of the experts each token row of a forward pass ran. begin() goes before each pass.
class RowShares : public nn::Observer {
 public:
  explicit RowShares(models::Model& model);
  /// Whether the model has experts at all.
  bool any() const { return !slots_.empty(); }
  /// @param rows  N, of the batch that runs next
  void begin(int64_t rows);
  void on_routing(const nn::SiteId& site, const torch::Tensor&, const torch::Tensor& mask, bool) override;

  /// Share over all converted sites, weighted by their widths.
  /// @param first, count  which token rows of the batch
  /// @return              [count] float64
  torch::Tensor of_rows(int64_t first, int64_t count) const;

  /// The layers that have experts, and how many: over all their sites.
  const std::vector<int64_t>& layers() const { return layers_; }
  const std::vector<int64_t>& experts() const { return experts_; }
  /// Experts that ran in each of these layers. @return  [layers, count] float64
  torch::Tensor executed(int64_t first, int64_t count) const;

 private:
  std::map<int64_t, int64_t> slots_;  // site index -> row of shares_
  std::vector<int64_t> layers_, experts_;
  torch::Tensor weights_;        // [sites] float64, sum to 1
  torch::Tensor layer_experts_;  // [layers, sites] float64: the site's experts, 0 outside its layer
  torch::Tensor shares_;         // [sites, N] float64
};

}  // namespace d2dmoe::eval
