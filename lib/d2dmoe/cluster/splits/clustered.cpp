#include <ATen/ATen.h>

#include "d2dmoe/cluster/balanced.h"
#include "d2dmoe/cluster/similarity.h"
#include "d2dmoe/cluster/splits/registry.h"

namespace d2dmoe::cluster {

bool by_pairs(const SplitInput& input) {
  return input.coactivation.defined();
}

Split clustered_split(const torch::Tensor& similarity, bool pairs, int64_t experts, uint64_t seed,
                      const config::SplitOptions& options) {
  BalancedOptions balanced;
  balanced.clusters = experts;
  balanced.seed = seed;
  balanced.restarts = options.restarts;
  balanced.max_sweeps = options.max_sweeps;
  const BalancedResult result =
      pairs ? balanced_clusters(similarity, balanced) : balanced_clusters_of_vectors(similarity, balanced);
  Split split;
  split.permutation =
      at::tensor(result.assignment, at::kLong).argsort(/*stable=*/true, /*dim=*/0, /*descending=*/false);
  split.experts = experts;
  split.objective = result.objective;
  return split;
}

// w1 of a gated site is its gate: what becomes sparse decides which neurons belong together.
Split weights_split(const SplitInput& input, const config::SplitOptions& options) {
  const bool pairs = input.weights.hidden() <= kGramItems;
  return clustered_split(pairs ? row_cosines(input.weights.w1) : unit_rows(input.weights.w1), pairs,
                         input.experts, input.seed, options);
}

Split coactivation_split(const SplitInput& input, const config::SplitOptions& options) {
  const bool pairs = by_pairs(input);
  return clustered_split(pairs ? activation_cosines(input.coactivation) : unit_rows(input.activity), pairs,
                         input.experts, input.seed, options);
}

Split mixed_split(const SplitInput& input, const config::SplitOptions& options) {
  const bool pairs = by_pairs(input);
  return clustered_split(pairs ? mixed_cosines(input.weights.w1, input.coactivation, options.mix)
                               : mixed_vectors(input.weights.w1, input.activity, options.mix),
                         pairs, input.experts, input.seed, options);
}

}  // namespace d2dmoe::cluster
