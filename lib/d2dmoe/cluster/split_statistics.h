#pragma once

#include <torch/types.h>

#include <cstdint>
#include <map>

#include "d2dmoe/cluster/balanced.h"
#include "d2dmoe/cluster/split.h"
#include "d2dmoe/nn/forward_context.h"

namespace d2dmoe::cluster {

/// Numbers per neuron that stand for its activations where neurons are many.
inline constexpr int64_t kActivityWidth = 2048;

/// Collects what splits look at, for every site at once, from forward passes over calibration data: add it to
/// ForwardContext::observers.
///
/// Co-activation of up to kGramItems neurons is summed pair by pair. Of more neurons, activations are kept as
/// kActivityWidth numbers each: token row t is added, with a random sign, to number t mod kActivityWidth (a
/// count sketch). The inner product of two neurons' numbers is that of their activations, give or take 1 /
/// sqrt(kActivityWidth) of the product of the norms, so a site's memory is bounded by 4 * max(kGramItems,
/// kActivityWidth) bytes per neuron.
///
/// Importance needs gradients: run the passes with grad mode on and call backward() on the loss; coactivation
/// and rate come from the forward pass alone.
class SplitStatistics : public nn::Observer {
 public:
  /// @param needs       of split_needs
  /// @param max_tokens  token rows per site that are looked at; later ones are ignored
  /// @param gram_items  sites of more neurons are sketched
  SplitStatistics(SplitNeeds needs, int64_t max_tokens, int64_t gram_items = kGramItems);

  bool wants_activations() const override { return true; }
  void on_activation(const nn::SiteId& site, const torch::Tensor& pre, const torch::Tensor& post,
                     const torch::Tensor& hidden) override;

  /// Whether every site seen so far has its max_tokens rows, so that further passes are useless.
  bool done() const;
  /// Token rows of a site that were looked at.
  int64_t tokens(int64_t site_index) const;
  /// Sets coactivation (or activity), rate and importance of `input` (those that are needed) from what the
  /// site collected.
  /// @throws Error  the site was never seen; importance is needed and no gradient ever came
  void fill(SplitInput& input, int64_t site_index) const;

 private:
  struct Sums {
    int64_t tokens = 0;
    torch::Tensor coactivation;  // [F, F] sum of h h^T
    torch::Tensor activity;      // [K, F] the sketch
    torch::Tensor active;        // [F] rows on which the neuron is active
    torch::Tensor importance;    // [F] sum of |a * dL/da|
    int64_t importance_tokens = 0;
  };

  SplitNeeds needs_;
  int64_t max_tokens_, gram_items_;
  std::map<int64_t, Sums>
      sites_;  // by SiteId::index; a map keeps Sums in place, the gradient hooks point at them
};

}  // namespace d2dmoe::cluster
