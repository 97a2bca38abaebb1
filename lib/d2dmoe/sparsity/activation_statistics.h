#pragma once

#include <torch/types.h>

#include <string>
#include <vector>

#include "d2dmoe/nn/forward_context.h"

namespace d2dmoe::sparsity {

/// Per-site activation sparsity over token rows: share of exact zeros, and of entries whose magnitude is
/// below 1/10, 1/100, 1/1000 of the largest of their row (all entries of an all-zero row count).
struct SiteSparsity {
  std::string site;
  double zeros = 0, below_tenth = 0, below_hundredth = 0, below_thousandth = 0;
  int64_t rows = 0;
};

/// Adds up the sparsity of every site over forward passes. Counts stay on the device until result() is
/// called.
class SparsityObserver : public nn::Observer {
 public:
  void on_activation(const nn::SiteId& site, const torch::Tensor& pre, const torch::Tensor& post,
                     const torch::Tensor& hidden) override;
  bool wants_activations() const override { return true; }
  /// Sites in the order of their index; those not seen since the last reset are left out.
  std::vector<SiteSparsity> result() const;
  /// Mean over the sites of the share of exact zeros; 0 when none was seen.
  double mean_zeros() const;
  void reset() { sites_.clear(); }

 private:
  struct Counts {
    std::string site;
    int64_t rows = 0, width = 0;
    torch::Tensor below;  // [4] int64: zeros, below 1/10, 1/100, 1/1000
  };
  std::vector<Counts> sites_;
};

}  // namespace d2dmoe::sparsity
