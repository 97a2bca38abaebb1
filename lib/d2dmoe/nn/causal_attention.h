#pragma once

#include <memory>

#include "d2dmoe/nn/forward_context.h"
#include "d2dmoe/nn/projection.h"
#include "d2dmoe/nn/rotary.h"

namespace d2dmoe::nn {

/// Self-attention of a decoder: every token sees itself and what stands before it. Sub-modules: q [H*hd, D],
/// k and v [K*hd, D], o [D, H*hd]; query head h uses key head h / (H/K).
class CausalAttention : public torch::nn::Module {
 public:
  struct Options {
    int64_t dim = 0;       ///< D
    int64_t heads = 0;     ///< H
    int64_t kv_heads = 0;  ///< K, divides H
    int64_t head_dim = 0;  ///< hd
    bool qkv_bias = false, output_bias = false;
    double scale = 1;    ///< of the scores, before the cap
    double softcap = 0;  ///< scores become cap * tanh(score / cap); 0 = no cap
    int64_t window = 0;  ///< a token sees at most so many keys, its own among them; 0 = all
    double dropout = 0;  ///< of the attention weights, in training
    int64_t layer = 0;   ///< its place in the model and in the KvCache
  };
  /// @throws Error  K does not divide H
  explicit CausalAttention(const Options& options);
  /// Earlier tokens come from ctx.cache, which has begun with this batch; the batch's own go there.
  /// @param x       [N, D]
  /// @param angles  of the batch's rows; nullptr without rotary embedding
  /// @return        [N, D]
  torch::Tensor forward(const torch::Tensor& x, const RotaryAngles* angles, ForwardContext& ctx) const;
  Projections projections() const { return {q_.get(), k_.get(), v_.get(), o_.get()}; }

 private:
  torch::Tensor attend(const torch::Tensor& q, const torch::Tensor& k, const torch::Tensor& v,
                       const ForwardContext& ctx) const;
  torch::Tensor mix(const torch::Tensor& q, const torch::Tensor& k, const torch::Tensor& v,
                    const torch::Tensor& mask, bool causal) const;

  Options options_;
  std::shared_ptr<Projection> q_, k_, v_, o_;
};

}  // namespace d2dmoe::nn
