#pragma once

#include <torch/types.h>

#include "d2dmoe/kernels/activation.h"

namespace d2dmoe::kernels {

/// The weights of a site, neurons in expert order: expert e owns the contiguous rows e*S … (e+1)*S of w1, wu
/// and w2t.
struct MlpWeights {
  torch::Tensor w1;   ///< [F, D] (gated sites: the gate's Wg)
  torch::Tensor b1;   ///< [F] or undefined
  torch::Tensor wu;   ///< [F, D], gated sites only, else undefined
  torch::Tensor bu;   ///< [F] or undefined
  torch::Tensor w2t;  ///< [F, D_out]: W2 transposed
  torch::Tensor b2;   ///< [D_out] or undefined
  Activation activation = Activation::relu;

  int64_t d_in() const { return w1.size(1); }
  int64_t hidden() const { return w1.size(0); }
  int64_t d_out() const { return w2t.size(1); }
  bool gated() const { return wu.defined(); }
};

/// The dense layer: y = act(x W1^T + b1) W2^T + b2 (gated: (act(x Wg^T) * (x Wu^T)) W2^T).
/// @param x  [N, D]
/// @return   [N, D_out]
torch::Tensor dense_mlp(const torch::Tensor& x, const MlpWeights& w);

/// The routed layer: for each token row, the sum of the chosen experts' outputs, plus b2 once. Rows are
/// gathered per expert, computed and added back; experts that no row chose cost nothing.
/// @param x     [N, D], the dtype of the weights: any floating one. Kernels of our own take float32 and
///              bfloat16, on CUDA float16 too (has_kernel); others run expert_mlp_generic.
/// @param mask  [N, E] bool, same device; E divides F
/// @return      [N, D_out]
/// @throws Error  shapes, dtypes or devices that do not fit
/// @ref docs/method.md §1, §6
torch::Tensor expert_mlp(const torch::Tensor& x, const torch::Tensor& mask, const MlpWeights& w);

/// Whether a kernel of our own computes expert_mlp for x's device and dtype where no gradient is wanted.
bool has_kernel(const torch::Tensor& x);

/// expert_mlp in ATen operations, one gather per expert: differentiable, any device, any floating dtype
/// (summed in float32). What expert_mlp runs where it has no kernel of its own, or no backward of its own
/// where a gradient is wanted.
torch::Tensor expert_mlp_generic(const torch::Tensor& x, const torch::Tensor& mask, const MlpWeights& w);

/// The same function through the dense layer, the hidden activations of unchosen experts set to zero.
/// Differentiable.
/// @throws Error  as expert_mlp
torch::Tensor masked_dense_mlp(const torch::Tensor& x, const torch::Tensor& mask, const MlpWeights& w);

/// The same by one loop over rows and experts, for tests.
torch::Tensor expert_mlp_reference(const torch::Tensor& x, const torch::Tensor& mask, const MlpWeights& w);

/// L2 norm of every expert's output before b2: the router's target, computed from h (the activations) and the
/// experts' Gram matrices, without a [N, E, D] tensor.
/// @param h      [N, F] activations (gated: the product)
/// @param grams  [E, S, S] from expert_grams
/// @return       [N, E] float32
torch::Tensor expert_norms(const torch::Tensor& h, const torch::Tensor& grams);
/// W2_e^T W2_e per expert: [E, S, S] float32.
torch::Tensor expert_grams(const MlpWeights& w, int64_t experts);

}  // namespace d2dmoe::kernels
