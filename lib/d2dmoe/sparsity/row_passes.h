#pragma once

#include <torch/types.h>

/// Passes over activations that PyTorch's operations would take several of. Sums are in float32.
namespace d2dmoe::sparsity {

/// Sum of magnitudes and sum of squares of each row.
/// @param a  [N, F], floating
/// @return   [N, 2] float32
torch::Tensor row_sums(const torch::Tensor& a);

/// sign(a) * of_sign - a * of_value, the factors by row.
/// @param a                  [N, F], floating
/// @param of_sign, of_value  [N] float32
/// @return                   [N, F] of a's dtype
torch::Tensor sign_and_value(const torch::Tensor& a, const torch::Tensor& of_sign,
                             const torch::Tensor& of_value);

}  // namespace d2dmoe::sparsity
