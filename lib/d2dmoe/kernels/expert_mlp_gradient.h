#pragma once

#include "d2dmoe/kernels/expert_mlp.h"

namespace d2dmoe::kernels {

/// Gradients of a routed layer; an undefined tensor is one that nobody wants.
struct MlpGradients {
  torch::Tensor x;        ///< [N, D]
  torch::Tensor w1, b1;   ///< [F, D], [F]
  torch::Tensor wu, bu;   ///< [F, D], [F]
  torch::Tensor w2t, b2;  ///< [F, D_out], [D_out]
};

/// Which of them are wanted.
struct MlpWanted {
  bool x = false, w1 = false, b1 = false, wu = false, bu = false, w2t = false, b2 = false;
};

/// The backward pass of expert_mlp, expert by expert over the rows that chose it: what no row chose costs
/// nothing but its zeros. The hidden layer is computed again instead of kept. Deterministic: every sum has
/// one owner and a fixed order.
/// @param dy    [N, D_out] gradient of the output
/// @param mask  [N, E] bool
/// @throws Error  operands that do not fit or are not float32 on the CPU, 2^31 chosen pairs or more
MlpGradients expert_mlp_backward(const torch::Tensor& dy, const torch::Tensor& x, const torch::Tensor& mask,
                                 const MlpWeights& w, const MlpWanted& wanted);

/// Whether expert_mlp_differentiable computes for x: float32 on the CPU, outside of autocast.
bool has_backward(const torch::Tensor& x);

/// expert_mlp for autograd: the forward pass is the kernel's, the backward pass expert_mlp_backward. A second
/// derivative goes through masked_dense_mlp.
/// @throws Error  as expert_mlp
torch::Tensor expert_mlp_differentiable(const torch::Tensor& x, const torch::Tensor& mask,
                                        const MlpWeights& w);

}  // namespace d2dmoe::kernels
