#include "d2dmoe/nn/causal_attention.h"

#include <ATen/Functions.h>

#include <limits>

#include "d2dmoe/core/error.h"
#include "d2dmoe/nn/attention.h"
#include "d2dmoe/nn/dropout.h"
#include "d2dmoe/nn/kv_cache.h"

namespace d2dmoe::nn {
namespace {

// The steps one by one, for what PyTorch's function lacks (the cap) or does slowly (dropout on a CPU). Every
// query sees a key, so no row of scores is all -inf.
torch::Tensor attend_in_steps(const torch::Tensor& q, const torch::Tensor& k, const torch::Tensor& v,
                              const torch::Tensor& mask, const CausalAttention::Options& options,
                              double dropout_probability) {
  auto scores = at::matmul(q * options.scale, k.transpose(2, 3));  // [B, H, Tq, T]
  if (options.softcap > 0) scores = at::tanh(scores / options.softcap) * options.softcap;
  if (mask.defined())
    scores = scores.masked_fill(mask.logical_not(), -std::numeric_limits<double>::infinity());
  const auto weights = at::softmax(scores, -1, torch::kFloat32).to(v.scalar_type());
  return at::matmul(nn::dropout(weights, dropout_probability, true), v);
}

}  // namespace

CausalAttention::CausalAttention(const Options& options) : options_(options) {
  const auto& o = options;
  D2D_CHECK(o.heads >= 1 && o.kv_heads >= 1 && o.heads % o.kv_heads == 0,
            "[attention] kv_heads: got {}, must divide the {} heads", o.kv_heads, o.heads);
  const auto projection = [&](SiteKind kind, int64_t in, int64_t out, bool bias) {
    return register_module(site_kind_name(kind), std::make_shared<Projection>(kind, o.layer, in, out, bias));
  };
  q_ = projection(SiteKind::attention_q, o.dim, o.heads * o.head_dim, o.qkv_bias);
  k_ = projection(SiteKind::attention_k, o.dim, o.kv_heads * o.head_dim, o.qkv_bias);
  v_ = projection(SiteKind::attention_v, o.dim, o.kv_heads * o.head_dim, o.qkv_bias);
  o_ = projection(SiteKind::attention_o, o.heads * o.head_dim, o.dim, o.output_bias);
}

torch::Tensor CausalAttention::forward(const torch::Tensor& x, const RotaryAngles* angles,
                                       ForwardContext& ctx) const {
  auto q = q_->forward(x, ctx), k = k_->forward(x, ctx);
  const auto v = v_->forward(x, ctx);
  if (angles != nullptr) {
    const auto turned = [&](const torch::Tensor& rows, int64_t heads) {
      return rotate(rows.view({-1, heads, options_.head_dim}), *angles).flatten(1).to(v.scalar_type());
    };
    q = turned(q, options_.heads), k = turned(k, options_.kv_heads);
  }
  return o_->forward(attend(q, k, v, ctx), ctx);
}

torch::Tensor CausalAttention::attend(const torch::Tensor& q, const torch::Tensor& k, const torch::Tensor& v,
                                      const ForwardContext& ctx) const {
  const auto& layout = ctx.layout;
  const auto split_heads = [&](const torch::Tensor& x) {  // [N, heads * hd] -> [B, heads, T, hd]
    return pad_rows(x, layout).view({layout.size(), layout.longest(), -1, options_.head_dim}).transpose(1, 2);
  };
  if (ctx.cache != nullptr) ctx.cache->store(options_.layer, k, v);
  torch::Tensor mixed;  // [B, H, T, hd]
  if (ctx.cache == nullptr || ctx.cache->was_empty()) {
    // Padding stands behind a sequence, where none of its tokens looks.
    const bool local = options_.window > 0 && options_.window < layout.longest();
    mixed = mix(split_heads(q), split_heads(k), split_heads(v),
                local ? layout.causal_mask(options_.window) : torch::Tensor(), /*causal=*/!local);
  } else {
    const auto [keys, values] = ctx.cache->all(options_.layer);
    mixed = mix(split_heads(q), keys, values, ctx.cache->mask(options_.window), /*causal=*/false);
  }
  const int64_t rows = layout.size() * layout.longest();
  return unpad_rows(mixed.transpose(1, 2).reshape({rows, q.size(1)}), layout);
}

torch::Tensor CausalAttention::mix(const torch::Tensor& q, const torch::Tensor& k, const torch::Tensor& v,
                                   const torch::Tensor& mask, bool causal) const {
  const int64_t batch = q.size(0), heads = q.size(1), queries = q.size(2);
  const int64_t kv_heads = k.size(1), group = heads / kv_heads;
  const double dropout = is_training() ? options_.dropout : 0;
  const bool in_steps = options_.softcap > 0 || (dropout > 0 && q.is_cpu());
  const auto run = [&](const torch::Tensor& query, const torch::Tensor& key, const torch::Tensor& value,
                       torch::Tensor visible, bool is_causal) {
    if (in_steps && is_causal)
      visible = torch::ones({queries, queries}, q.options().dtype(torch::kBool)).tril_();
    if (in_steps) return attend_in_steps(query, key, value, visible, options_, dropout);
    return at::scaled_dot_product_attention(
        query, key, value, visible.defined() ? std::optional<torch::Tensor>(visible) : std::nullopt, dropout,
        is_causal, options_.scale);
  };
  // One query per sequence: the heads of a group are queries to the same keys, which need no copies then.
  if (queries == 1) return run(q.reshape({batch, kv_heads, group, -1}), k, v, mask, false).reshape(q.sizes());
  const auto repeated = [&](const torch::Tensor& x) {  // [B, K, T, hd] -> [B, H, T, hd]
    if (group == 1) return x;
    return x.unsqueeze(2).expand({-1, -1, group, -1, -1}).reshape({batch, heads, x.size(2), x.size(3)});
  };
  return run(q, repeated(k), repeated(v), mask, causal);
}

}  // namespace d2dmoe::nn
