#include "d2dmoe/nn/attention.h"

#include <ATen/Functions.h>
#include <torch/csrc/autograd/custom_function.h>

#include <cmath>
#include <limits>

#include "d2dmoe/core/error.h"
#include "d2dmoe/nn/dropout.h"
#include "d2dmoe/nn/packed_attention.h"

namespace d2dmoe::nn {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

torch::Tensor scatter_rows(const torch::Tensor& x, const torch::Tensor& index, int64_t rows) {
  return at::zeros({rows, x.size(1)}, x.options()).index_copy_(0, index, x);
}

// Padding and unpadding are each other's gradients. PyTorch's own gradient of index_select adds up rows one
// at a time, because it cannot know that every row is chosen once.
struct Pad : torch::autograd::Function<Pad> {
  static torch::Tensor forward(AutogradContext* ctx, const torch::Tensor& x, const torch::Tensor& index,
                               int64_t rows) {
    ctx->save_for_backward({index});
    return scatter_rows(x, index, rows);
  }
  static variable_list backward(AutogradContext* ctx, const variable_list& grads) {
    return {grads[0].index_select(0, ctx->get_saved_variables()[0]), {}, {}};
  }
};

struct Unpad : torch::autograd::Function<Unpad> {
  static torch::Tensor forward(AutogradContext* ctx, const torch::Tensor& x, const torch::Tensor& index) {
    ctx->save_for_backward({index});
    ctx->saved_data["rows"] = x.size(0);
    return x.index_select(0, index);
  }
  static variable_list backward(AutogradContext* ctx, const variable_list& grads) {
    return {scatter_rows(grads[0], ctx->get_saved_variables()[0], ctx->saved_data["rows"].toInt()), {}};
  }
};

// softmax(q k^T / sqrt(d)) v with dropped weights; every sequence has a key, so no row of scores is all -inf.
// PyTorch's own function takes these steps too when there is dropout on a CPU, with a slower dropout and
// further passes.
torch::Tensor attend_with_dropout(const torch::Tensor& q, const torch::Tensor& k, const torch::Tensor& v,
                                  const std::optional<torch::Tensor>& mask, double dropout) {
  auto scores = at::matmul(q / std::sqrt(static_cast<double>(q.size(3))), k.transpose(2, 3));  // [B, H, T, T]
  if (mask) scores = scores.masked_fill_(mask->logical_not(), -std::numeric_limits<double>::infinity());
  return at::matmul(nn::dropout(at::softmax(scores, -1), dropout, true), v);
}

}  // namespace

torch::Tensor pad_rows(const torch::Tensor& x, const SequenceLayout& layout) {
  return layout.even() ? x : Pad::apply(x, layout.padded_index(), layout.size() * layout.longest());
}

torch::Tensor unpad_rows(const torch::Tensor& x, const SequenceLayout& layout) {
  return layout.even() ? x : Unpad::apply(x, layout.padded_index());
}

torch::Tensor attend(const torch::Tensor& q, const torch::Tensor& k, const torch::Tensor& v,
                     const SequenceLayout& layout, int64_t heads, double dropout) {
  const bool first_only = q.size(0) != layout.tokens();
  const std::vector<int64_t> one_each(first_only ? static_cast<size_t>(layout.size()) : 0, 1);
  if (packed_attention_fits(q, k, v, layout.longest())) {
    return packed_attention(q, k, v,
                            {.queries = first_only ? one_each : layout.lengths(),
                             .keys = layout.lengths(),
                             .heads = heads,
                             .dropout = dropout,
                             .seed = dropout > 0 ? draw_dropout_seed() : 0});
  }
  const auto by_head = [&](const torch::Tensor& x) {  // [B * T, D] -> [B, H, T, D/H]
    return x.view({layout.size(), -1, heads, x.size(1) / heads}).transpose(1, 2);
  };
  const auto split_heads = [&](const torch::Tensor& x) { return by_head(pad_rows(x, layout)); };
  const auto mask = layout.even() ? std::optional<torch::Tensor>() : layout.key_mask();
  const auto query = first_only ? by_head(q) : split_heads(q), key = split_heads(k), value = split_heads(v);
  const auto mixed = dropout > 0 && q.is_cpu()
                         ? attend_with_dropout(query, key, value, mask, dropout)
                         : at::scaled_dot_product_attention(query, key, value, mask, dropout);
  const auto rows = mixed.transpose(1, 2).reshape({-1, v.size(1)});
  return first_only ? rows : unpad_rows(rows, layout);
}

SelfAttention::SelfAttention(int64_t dim, int64_t heads, double dropout, bool qkv_bias, int64_t layer)
    : heads_(heads), dropout_(dropout) {
  D2D_CHECK(heads >= 1 && dim % heads == 0, "[attention] heads: got {}, must divide the width {}", heads,
            dim);
  const auto projection = [&](SiteKind kind, bool bias) {
    return register_module(site_kind_name(kind), std::make_shared<Projection>(kind, layer, dim, dim, bias));
  };
  q_ = projection(SiteKind::attention_q, qkv_bias);
  k_ = projection(SiteKind::attention_k, qkv_bias);
  v_ = projection(SiteKind::attention_v, qkv_bias);
  o_ = projection(SiteKind::attention_o, true);
}

torch::Tensor SelfAttention::forward(const torch::Tensor& x, ForwardContext& ctx, bool first_only) const {
  const auto from = first_only ? x.index_select(0, ctx.layout.first_rows()) : x;
  const auto q = q_->forward(from, ctx), k = k_->forward(x, ctx), v = v_->forward(x, ctx);
  return o_->forward(attend(q, k, v, ctx.layout, heads_, is_training() ? dropout_ : 0), ctx);
}

}  // namespace d2dmoe::nn
