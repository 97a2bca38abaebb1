#pragma once

#include "d2dmoe/kernels/expert_mlp_args.h"

namespace d2dmoe::kernels::cpu {

/// expert_mlp on raw pointers. Each thread owns a run of rows and goes through the experts in order, so no
/// two threads write to one row and every row is summed in expert order: the bytes do not depend on the
/// number of threads.
void expert_mlp(const ExpertMlpArgs& args);

}  // namespace d2dmoe::kernels::cpu
