#include <ATen/ATen.h>

#include "d2dmoe/cluster/similarity.h"
#include "d2dmoe/cluster/splits/registry.h"

namespace d2dmoe::cluster {

Split shared_routed_split(const SplitInput& input, const config::SplitOptions& options) {
  const int64_t experts = input.experts, size = input.weights.hidden() / experts;
  const int64_t shared = shared_experts_of(options, experts);
  const torch::Tensor by_rate =
      input.rate.to(at::kCPU).argsort(/*stable=*/true, /*dim=*/0, /*descending=*/true);  // [F]
  const torch::Tensor always = by_rate.narrow(0, 0, shared * size);
  const torch::Tensor rest = std::get<0>(by_rate.narrow(0, shared * size, (experts - shared) * size).sort());

  const torch::Tensor w1 = input.weights.w1.to(at::kCPU);
  const bool pairs = by_pairs(input);
  const torch::Tensor similarity =
      pairs ? mixed_cosines(w1, input.coactivation.to(at::kCPU), options.mix)
                  .index_select(0, rest)
                  .index_select(1, rest)
            : mixed_vectors(w1, input.activity.to(at::kCPU), options.mix).index_select(0, rest);
  Split split = clustered_split(similarity, pairs, experts - shared, input.seed, options);
  split.permutation = at::cat({always, rest.index_select(0, split.permutation)});
  split.experts = experts;
  split.shared = shared;
  return split;
}

}  // namespace d2dmoe::cluster
