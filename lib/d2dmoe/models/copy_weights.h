#pragma once

#include <torch/types.h>

namespace d2dmoe::models {

/// target[r, c] = stored[c, r] with a change of dtype, on all threads, in blocks that fit into the cache; a
/// copy of the transposed view strides through memory.
/// @param target  [R, C] contiguous, cpu
/// @param stored  [C, S] contiguous, cpu; its columns first … first + R are read
/// @throws Error  one of them is not float32, float64, bfloat16 or float16
void copy_transposed(const torch::Tensor& target, const torch::Tensor& stored, int64_t first = 0);

}  // namespace d2dmoe::models
