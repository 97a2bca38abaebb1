#pragma once

#include <torch/types.h>

#include <memory>
#include <string>
#include <vector>

#include "d2dmoe/nn/forward_context.h"

namespace d2dmoe::sparsity {

/// Mean over token rows of a penalty of one site's activations; differentiable.
/// @param name          of config::kPenalties, not "none"
/// @param pre, post     [N, F] before and after the activation
/// @param displacement  d of the clamped penalties
/// @return              scalar float32; 0 with zero gradient for all-zero rows
/// @ref METHOD.md §2
torch::Tensor penalty(const std::string& name, const torch::Tensor& pre, const torch::Tensor& post,
                      double displacement);

/// Adds up the penalty of every site during a forward pass.
class PenaltyObserver : public nn::Observer {
 public:
  PenaltyObserver(std::string name, double displacement);
  void on_activation(const nn::SiteId& site, const torch::Tensor& pre, const torch::Tensor& post,
                     const torch::Tensor& hidden) override;
  bool wants_activations() const override { return true; }
  /// Mean over the sites seen since the last reset; undefined when none.
  torch::Tensor mean() const;
  const std::vector<torch::Tensor>& per_site() const { return values_; }  ///< by site index, undefined if unseen
  void reset();

 private:
  std::string name_;
  double displacement_;
  std::vector<torch::Tensor> values_;
};

/// Per-site activation sparsity over token rows: share of exact zeros, and of entries below 1/10, 1/100, 1/1000 of
/// their row's maximum.
struct SiteSparsity {
  std::string site;
  double zeros = 0, below_tenth = 0, below_hundredth = 0, below_thousandth = 0;
  int64_t rows = 0;
};

class SparsityObserver : public nn::Observer {
 public:
  void on_activation(const nn::SiteId& site, const torch::Tensor& pre, const torch::Tensor& post,
                     const torch::Tensor& hidden) override;
  bool wants_activations() const override { return true; }
  std::vector<SiteSparsity> result() const;
  double mean_zeros() const;
  void reset();

 private:
  std::vector<SiteSparsity> sums_;
};

}  // namespace d2dmoe::sparsity
