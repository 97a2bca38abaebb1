#pragma once

#include <torch/types.h>

#include <string>
#include <vector>

#include "d2dmoe/nn/forward_context.h"
#include "d2dmoe/sparsity/activation_statistics.h"

namespace d2dmoe::sparsity {

/// Mean over token rows of a penalty of one site's activations; differentiable.
/// @param name          of config::kPenalties, not "none"
/// @param pre, post     [N, F] before and after the activation
/// @param displacement  d of the clamped penalties
/// @return              scalar float32; 0 with zero gradient for all-zero rows
/// @ref docs/method.md §2
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
  const std::vector<torch::Tensor>& per_site() const {
    return values_;
  }  ///< by site index, undefined if unseen
  void reset();

 private:
  std::string name_;
  double displacement_;
  std::vector<torch::Tensor> values_;
};

}  // namespace d2dmoe::sparsity
