#pragma once

#include <torch/types.h>

#include <cstdint>
#include <vector>

namespace d2dmoe::nn {

/// What packed_attention computes: one softmax(q k^T / sqrt(d)) v per sequence and head, on rows where they
/// lie.
struct PackedAttentionArgs {
  std::vector<int64_t> queries, keys;  ///< rows of each sequence in q, and in k and v
  int64_t heads = 1;
  double dropout = 0;  ///< of the attention weights
  uint64_t seed = 0;   ///< of what is dropped
};

/// Whether packed_attention takes these tensors: float32 or bfloat16 on a CPU, sequences short enough that a
/// head's weights stay in a core's cache.
bool packed_attention_fits(const torch::Tensor& q, const torch::Tensor& k, const torch::Tensor& v,
                           int64_t longest);

/// Attention within each sequence of a packed batch, without padding, masks or transposed copies, sums in
/// float32. Differentiable: the gradient computes the weights again instead of keeping them.
/// @param q     [sum of queries, D]
/// @param k, v  [sum of keys, D]
/// @return      [sum of queries, D], of q's dtype
torch::Tensor packed_attention(const torch::Tensor& q, const torch::Tensor& k, const torch::Tensor& v,
                               PackedAttentionArgs args);

}  // namespace d2dmoe::nn
