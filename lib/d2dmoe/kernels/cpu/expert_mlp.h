#pragma once

#include "d2dmoe/kernels/expert_mlp_args.h"

namespace d2dmoe::kernels::cpu {

/// expert_mlp on raw pointers. The first product is cut by experts, neurons and rows, the second by columns
/// of y and rows, so that one row, or one expert that has all the work, keeps every thread busy. No two
/// threads write to one element, and each is summed in the order of experts and neurons: for finite weights
/// the result does not depend on the number of threads, nor, in float32, on which other rows are in the call
/// (bfloat16: an expert's number of rows chooses between two orders of summing). An activation
/// that is exactly 0 may be left out of the sum: an infinite or NaN weight of W2 behind it then does not
/// show.
void expert_mlp(const ExpertMlpArgs& args);

}  // namespace d2dmoe::kernels::cpu
