#pragma once

#include <torch/types.h>

namespace d2dmoe::nn {

/// Zeroes each element with probability p and scales the rest so that the expectation stays; returns x itself
/// when not training or p <= 0. Randomness comes from the device's default generator (torch::manual_seed),
/// and on the CPU does not depend on the number of threads.
/// @param x  any shape, floating
/// @param p  below 1; on the CPU rounded to a multiple of 2^-16
torch::Tensor dropout(const torch::Tensor& x, double p, bool training);

/// A seed for what is dropped, from the CPU's default generator.
uint64_t draw_dropout_seed();

}  // namespace d2dmoe::nn
