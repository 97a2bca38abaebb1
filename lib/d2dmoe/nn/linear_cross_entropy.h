#pragma once

#include <torch/types.h>

namespace d2dmoe::nn {

struct LinearCrossEntropyOptions {
  double softcap = 0;          ///< logits become cap * tanh(logit / cap); 0 = no cap
  double label_smoothing = 0;  ///< in [0, 1): share of the target spread evenly over the classes
  int64_t chunk = 1024;        ///< rows whose logits exist at a time
};

/// Cross-entropy of softmax(hidden weight^T) against each row's target, without ever holding all logits: they
/// are made chunk by chunk, and again for the gradient, so that memory is [chunk, V] and not [N, V].
/// @param hidden   [N, D]
/// @param weight   [V, D]
/// @param targets  [N] int64 in [0, V), or -100: that row's loss is 0
/// @return         [N] float32; the logits are those of hidden's dtype, their softmax is float32
/// @throws Error  shapes that do not fit
torch::Tensor linear_cross_entropy(const torch::Tensor& hidden, const torch::Tensor& weight,
                                   const torch::Tensor& targets,
                                   const LinearCrossEntropyOptions& options = {});

}  // namespace d2dmoe::nn
