#include <ATen/ATen.h>

#include "d2dmoe/cluster/balanced.h"
#include "d2dmoe/cluster/similarity.h"
#include "d2dmoe/cluster/splits/registry.h"

namespace d2dmoe::cluster {

Split clustered_split(const torch::Tensor& similarity, int64_t experts, uint64_t seed,
                      const config::SplitOptions& options) {
  BalancedOptions balanced;
  balanced.clusters = experts;
  balanced.seed = seed;
  balanced.restarts = options.restarts;
  balanced.max_sweeps = options.max_sweeps;
  const BalancedResult result = balanced_clusters(similarity, balanced);
  Split split;
  split.permutation =
      at::tensor(result.assignment, at::kLong).argsort(/*stable=*/true, /*dim=*/0, /*descending=*/false);
  split.experts = experts;
  split.objective = result.objective;
  return split;
}

// w1 of a gated site is its gate: what becomes sparse decides which neurons belong together.
Split weights_split(const SplitInput& input, const config::SplitOptions& options) {
  return clustered_split(row_cosines(input.weights.w1), input.experts, input.seed, options);
}

Split coactivation_split(const SplitInput& input, const config::SplitOptions& options) {
  return clustered_split(activation_cosines(input.coactivation), input.experts, input.seed, options);
}

Split mixed_split(const SplitInput& input, const config::SplitOptions& options) {
  return clustered_split(mixed_cosines(input.weights.w1, input.coactivation, options.mix), input.experts,
                         input.seed, options);
}

}  // namespace d2dmoe::cluster
