#pragma once

#include "d2dmoe/kernels/cpu/expert_mlp_bf16_micro.h"
#include "d2dmoe/kernels/expert_mlp_args.h"

namespace d2dmoe::kernels::cpu {

/// cpu::expert_mlp for bfloat16 operands: sums are float32, the hidden activations are rounded to bfloat16
/// between the two products, y is rounded once. Experts with many rows go through packed panels, those with
/// few through row dots and row sums on the weights as they lie in memory; which of the two depends on the
/// number of rows that chose the expert (within 1024 rows of the call), not on threads. Threads share the
/// experts' neurons in the first product and the output's columns in the second, so no sum is shared, and the
/// bytes do not depend on their number.
void expert_mlp_bf16(const ExpertMlpArgs& args);
/// The same with a given instruction set, for tests.
void expert_mlp_bf16(const ExpertMlpArgs& args, const Bf16Micro& micro);

}  // namespace d2dmoe::kernels::cpu
