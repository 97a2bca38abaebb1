#pragma once

#include "d2dmoe/kernels/expert_mlp.h"

namespace d2dmoe::kernels {

/// The share of chosen (row, expert) pairs above which masked_dense_mlp is faster than expert_mlp on this
/// machine: 0 = the dense path always is, above 1 = the routed path always is.
///
/// Measured once per process for each shape, dtype, device, number of threads and power of two of rows,
/// within a few milliseconds, on random rows with these weights; then remembered. Thread-safe. It decides
/// only which way the same function is computed.
/// @param rows  token rows of a call; above 512 the figure for 512 holds
double break_even_share(const MlpWeights& w, int64_t experts, int64_t rows);

/// The routed layer by the faster way: no expert skipped: dense_mlp; a larger share than break_even_share:
/// masked_dense_mlp; else expert_mlp.
/// @param ran_dense  set to whether every expert's product was computed; may be null
torch::Tensor expert_mlp_auto(const torch::Tensor& x, const torch::Tensor& mask, const MlpWeights& w,
                              bool* ran_dense);

}  // namespace d2dmoe::kernels
