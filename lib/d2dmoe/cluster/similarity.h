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

}  // namespace d2dmoe::cluster
