#pragma once

#include "d2dmoe/kernels/expert_mlp.h"

namespace d2dmoe::kernels {

/// The weights' shapes, dtypes and devices fit each other and x [N, D].
/// @param place  what messages begin with: the operation's name
void check_mlp(const char* place, const torch::Tensor& x, const MlpWeights& w);
/// The same, and mask is [N, E] bool on x's device with E a divisor of F.
void check_expert_mlp(const char* place, const torch::Tensor& x, const torch::Tensor& mask,
                      const MlpWeights& w);

/// Whether autograd will want this call's history.
bool wants_gradient(const torch::Tensor& x, const MlpWeights& w);

}  // namespace d2dmoe::kernels
