#pragma once

#include <torch/types.h>

namespace d2dmoe::cluster {

/// Cosines between the rows of a matrix; a row of zeros has cosine 0 with every row, itself included.
/// @param rows  [F, D]
/// @return      [F, F] float32
torch::Tensor row_cosines(const torch::Tensor& rows);

/// Cosines of activations from their inner products. Neurons that were never active have cosine 0 with all.
/// @param coactivation  [F, F] sum of h h^T
torch::Tensor activation_cosines(const torch::Tensor& coactivation);

/// (1 - mix) * weights + mix * activations; where a neuron was never active nothing is known of it but its
/// weights, and their cosine stands alone.
/// @param mix  in [0, 1]
torch::Tensor mixed_cosines(const torch::Tensor& rows, const torch::Tensor& coactivation, double mix);

/// Vectors whose inner products are the cosines above: rows scaled to norm 1, rows of zeros left as they are.
/// @param rows  [F, D]
/// @return      [F, D] float32
torch::Tensor unit_rows(const torch::Tensor& rows);

/// Vectors for mixed_cosines without a matrix of neuron pairs. A neuron that was never active is compared by
/// its weights alone, as there, but weighs (1 - mix).
/// @param activity  [F, K] of SplitInput
/// @return          [F, D + K] float32
torch::Tensor mixed_vectors(const torch::Tensor& rows, const torch::Tensor& activity, double mix);

}  // namespace d2dmoe::cluster
