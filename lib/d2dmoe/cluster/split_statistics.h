#pragma once

#include <torch/types.h>

#include <cstdint>
#include <map>

#include "d2dmoe/cluster/split.h"
#include "d2dmoe/nn/forward_context.h"

namespace d2dmoe::cluster {

/// Collects what splits look at, for every site at once, from forward passes over calibration data: add it to
/// ForwardContext::observers.
///
/// Importance needs gradients: run the passes with grad mode on and call backward() on the loss; coactivation
/// and rate come from the forward pass alone.
class SplitStatistics : public nn::Observer {
 public:
  /// @param needs       of split_needs
  /// @param max_tokens  token rows per site that are looked at; later ones are ignored
  SplitStatistics(SplitNeeds needs, int64_t max_tokens);

  bool wants_activations() const override { return true; }
  void on_activation(const nn::SiteId& site, const torch::Tensor& pre, const torch::Tensor& post,
                     const torch::Tensor& hidden) override;

  /// Whether every site seen so far has its max_tokens rows, so that further passes are useless.
  bool done() const;
  /// Token rows of a site that were looked at.
  int64_t tokens(int64_t site_index) const;
  /// Sets coactivation, rate and importance of `input` (those that are needed) from what the site collected.
  /// @throws Error  the site was never seen; importance is needed and no gradient ever came
  void fill(SplitInput& input, int64_t site_index) const;

 private:
  struct Sums {
    int64_t tokens = 0;
    torch::Tensor coactivation;  // [F, F] sum of h h^T
    torch::Tensor active;        // [F] rows on which the neuron is active
    torch::Tensor importance;    // [F] sum of |a * dL/da|
    int64_t importance_tokens = 0;
  };

  SplitNeeds needs_;
  int64_t max_tokens_;
  std::map<int64_t, Sums>
      sites_;  // by SiteId::index; a map keeps Sums in place, the gradient hooks point at them
};

}  // namespace d2dmoe::cluster
