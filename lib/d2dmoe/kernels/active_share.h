#pragma once

#include <torch/types.h>

#include "d2dmoe/kernels/expert_mlp.h"

namespace d2dmoe::kernels {

/// Rows that active_share looks at: enough to tell one power of two from the next.
constexpr int64_t kActiveRows = 64;

/// Of the hidden activations of chosen experts the share that ReLU leaves above 0, in the first kActiveRows
/// rows; 1 where nothing is chosen and for other activations. Zeros cost the routed path on the CPU less, the
/// dense path as much as any number.
/// @param x     [N, D] as the layer gets it
/// @param mask  [N, E] bool
double active_share(const torch::Tensor& x, const torch::Tensor& mask, const MlpWeights& w);

/// x W1^T + b1 of the first kActiveRows rows, without a history: under autocast, casts of weights made for it
/// must not be kept.
torch::Tensor first_sums(const torch::Tensor& x, const MlpWeights& w);

}  // namespace d2dmoe::kernels
