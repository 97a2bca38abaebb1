#include <ATen/ATen.h>

#include "d2dmoe/cluster/splits/registry.h"

namespace d2dmoe::cluster {

Split importance_split(const SplitInput& input, const config::SplitOptions& /*options*/) {
  Split split;
  split.permutation = input.importance.to(at::kCPU).argsort(/*stable=*/true, /*dim=*/0, /*descending=*/true);
  split.experts = input.experts;
  return split;
}

}  // namespace d2dmoe::cluster
