#include <ATen/ATen.h>

#include "d2dmoe/cluster/splits/registry.h"
#include "d2dmoe/core/random.h"

namespace d2dmoe::cluster {

Split random_split(const SplitInput& input, const config::SplitOptions& /*options*/) {
  Split split;
  split.permutation =
      at::tensor(Rng(derive_seed(input.seed, "random split")).permutation(input.weights.hidden()), at::kLong);
  split.experts = input.experts;
  return split;
}

}  // namespace d2dmoe::cluster
