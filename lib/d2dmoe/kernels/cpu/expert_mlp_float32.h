#pragma once

#include "d2dmoe/kernels/expert_mlp_args.h"

namespace d2dmoe::kernels::cpu {

/// cpu::expert_mlp for float32 operands.
void expert_mlp_float32(const ExpertMlpArgs& args);

}  // namespace d2dmoe::kernels::cpu
