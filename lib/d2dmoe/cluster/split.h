#pragma once

#include <torch/types.h>

#include <string>
#include <vector>

#include "d2dmoe/config/options.h"
#include "d2dmoe/kernels/expert_mlp.h"

namespace d2dmoe::cluster {

/// What a split may look at: one site's weights and its statistics on calibration data.
struct SplitInput {
  kernels::MlpWeights weights;
  torch::Tensor
      coactivation;  ///< [F, F] float32: sum over calibration rows of h h^T; undefined if not collected
  /// [F, K] float32, in place of coactivation where there are more than kGramItems neurons: the inner
  /// products of its rows are about those of the neurons' activations (exactly, for up to K calibration
  /// rows).
  torch::Tensor activity;
  torch::Tensor rate;        ///< [F] float32: share of calibration rows on which the neuron is active
  torch::Tensor importance;  ///< [F] float32: mean |a * dL/da|; undefined if not collected
  int64_t experts = 0;
  uint64_t seed = 0;
};

/// A partition of F neurons into E experts of F/E.
struct Split {
  torch::Tensor
      permutation;  ///< [F] int64: place i in expert order is neuron permutation[i]; shared experts first
  int64_t experts = 0;
  int64_t shared = 0;    ///< the first `shared` experts always run
  double objective = 0;  ///< of balanced clustering; 0 for other splits
};

/// @param options.name  a name of config::kSplits
/// @throws UsageError  E does not divide F: lists the divisors near it
Split split_neurons(const SplitInput& input, const config::SplitOptions& options);

/// Which statistics a split needs.
struct SplitNeeds {
  bool coactivation = false, rate = false, importance = false;
};
SplitNeeds split_needs(const std::string& name);

/// Number of experts of a site by the options (per site, experts or expert_size).
/// @param section      of config.json's `convert` that the options stand in, for messages
/// @throws UsageError  it does not divide `hidden`: names the site and lists the divisors near it
int64_t experts_of(const config::SplitOptions& options, const std::string& site, int64_t hidden,
                   const std::string& section = "split");

/// How many of a site's experts the split makes shared: 0 but for shared_routed.
int64_t shared_experts_of(const config::SplitOptions& options, int64_t experts);

}  // namespace d2dmoe::cluster
