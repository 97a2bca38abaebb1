#pragma once

#include <string_view>
#include <vector>

#include "d2dmoe/cluster/split.h"

namespace d2dmoe::cluster {

/// A way to split neurons: one file in this folder and one line in the registry (split.cpp).
struct SplitMethod {
  std::string_view name;  ///< as in config::kSplits
  SplitNeeds needs;
  /// Gets an input whose experts divide its neurons and whose needed statistics have the right shape.
  Split (*run)(const SplitInput& input, const config::SplitOptions& options);
};
const std::vector<SplitMethod>& split_methods();

Split random_split(const SplitInput& input, const config::SplitOptions& options);
Split weights_split(const SplitInput& input, const config::SplitOptions& options);
Split coactivation_split(const SplitInput& input, const config::SplitOptions& options);
Split mixed_split(const SplitInput& input, const config::SplitOptions& options);
Split importance_split(const SplitInput& input, const config::SplitOptions& options);
Split shared_routed_split(const SplitInput& input, const config::SplitOptions& options);

/// Whether the activations of a site's neurons were collected pair by pair ([F, F]) or as vectors.
bool by_pairs(const SplitInput& input);
/// Balanced clusters of the neurons as a split into `experts`.
/// @param similarity  [F, F]; by vectors: [F, M], whose inner products are the similarities
Split clustered_split(const torch::Tensor& similarity, bool pairs, int64_t experts, uint64_t seed,
                      const config::SplitOptions& options);

}  // namespace d2dmoe::cluster
