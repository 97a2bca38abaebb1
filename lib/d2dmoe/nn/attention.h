#pragma once

#include <memory>

#include "d2dmoe/nn/forward_context.h"
#include "d2dmoe/nn/projection.h"

namespace d2dmoe::nn {

/// softmax(q k^T / sqrt(D/H)) v for each head, within each sequence of a packed batch (packed_attention where
/// that fits). Padding exists only inside this function, and only when the lengths differ.
/// @param q        [N, D], one row per real token, or [B, D]: only the first token of each sequence asks
/// @param k, v     [N, D]; H divides D
/// @param heads    H
/// @param dropout  probability of dropping an attention weight; 0 when not training
/// @return         of q's shape, finite for finite input
torch::Tensor attend(const torch::Tensor& q, const torch::Tensor& k, const torch::Tensor& v,
                     const SequenceLayout& layout, int64_t heads, double dropout);

/// Packed rows to padded rows, zeros where padding is. @param x [N, D]  @return [B * longest, D]
torch::Tensor pad_rows(const torch::Tensor& x, const SequenceLayout& layout);
/// The real rows of padded ones. @param x [B * longest, D]  @return [N, D]
torch::Tensor unpad_rows(const torch::Tensor& x, const SequenceLayout& layout);

/// Multi-head self-attention. Sub-modules q, k, v, o: Projection [D, D].
class SelfAttention : public torch::nn::Module {
 public:
  /// @param dim      D
  /// @param heads    H, divides D
  /// @param dropout  of the attention weights, in training
  /// @param qkv_bias whether q, k and v have a bias; o always has
  /// @param layer    its place in the model, for the projections' names
  /// @throws Error   H does not divide D
  SelfAttention(int64_t dim, int64_t heads, double dropout, bool qkv_bias = true, int64_t layer = 0);
  /// @param x           [N, D]
  /// @param first_only  compute only what each sequence's first token gets
  /// @return            [N, D]; first_only: [B, D]
  torch::Tensor forward(const torch::Tensor& x, ForwardContext& ctx, bool first_only = false) const;
  Projections projections() const { return {q_.get(), k_.get(), v_.get(), o_.get()}; }

 private:
  int64_t heads_;
  double dropout_;
  std::shared_ptr<Projection> q_, k_, v_, o_;
};

}  // namespace d2dmoe::nn
