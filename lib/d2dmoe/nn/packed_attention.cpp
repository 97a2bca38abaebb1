#include "d2dmoe/nn/packed_attention.h"

#include <ATen/Functions.h>
#include <ATen/Parallel.h>
#include <torch/csrc/autograd/custom_function.h>

#include <algorithm>
#include <memory>

#include "d2dmoe/core/error.h"
#include "d2dmoe/nn/packed_attention_head.h"

namespace d2dmoe::nn {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

// Where a sequence's rows begin.
struct Begins {
  std::vector<int64_t> queries, keys;
  explicit Begins(const PackedAttentionArgs& args) {
    int64_t query = 0, key = 0;
    for (size_t b = 0; b < args.keys.size(); ++b) {
      queries.push_back(query), keys.push_back(key);
      query += args.queries[b], key += args.keys[b];
    }
  }
};

AttentionHead head_of(const PackedAttentionArgs& args, const Begins& begins, int64_t sequence, int64_t head,
                      int64_t dim) {
  const auto b = static_cast<size_t>(sequence);
  AttentionHead h;
  h.queries = args.queries[b], h.keys = args.keys[b], h.dim = dim;
  h.dropout = args.dropout, h.seed = args.seed;
  // Every query row of every head draws its own numbers, whatever thread computes it.
  h.first_row = static_cast<uint64_t>(begins.queries[b] * args.heads + head * args.queries[b]);
  return h;
}

template <class T>
HeadRows<T> rows_of(const torch::Tensor& x, int64_t row, int64_t column) {
  return {x.data_ptr<T>() + row * x.stride(0) + column, x.stride(0)};
}

// Calls `run(sequence, head, scratch)` for every head of every sequence, on all threads.
template <class Run>
void for_each_head(const PackedAttentionArgs& args, Run run) {
  const auto tasks = static_cast<int64_t>(args.keys.size()) * args.heads;
  at::parallel_for(0, tasks, 8, [&](int64_t begin, int64_t end) {
    HeadScratch scratch;
    for (int64_t task = begin; task < end; ++task) run(task / args.heads, task % args.heads, scratch);
  });
}

template <class T>
void forward_heads(const torch::Tensor& q, const torch::Tensor& k, const torch::Tensor& v,
                   const torch::Tensor& out, const PackedAttentionArgs& args) {
  const Begins begins(args);
  const int64_t dim = q.size(1) / args.heads;
  for_each_head(args, [&](int64_t sequence, int64_t head, HeadScratch& scratch) {
    const auto b = static_cast<size_t>(sequence);
    const int64_t query = begins.queries[b], key = begins.keys[b], column = head * dim;
    attend_head<T>(head_of(args, begins, sequence, head, dim), rows_of<T>(q, query, column),
                   rows_of<T>(k, key, column), rows_of<T>(v, key, column), rows_of<T>(out, query, column),
                   scratch);
  });
}

template <class T>
void backward_heads(const variable_list& qkv, const torch::Tensor& out_grad, const variable_list& grads,
                    const PackedAttentionArgs& args) {
  const Begins begins(args);
  const int64_t dim = qkv[0].size(1) / args.heads;
  for_each_head(args, [&](int64_t sequence, int64_t head, HeadScratch& scratch) {
    const auto b = static_cast<size_t>(sequence);
    const int64_t query = begins.queries[b], key = begins.keys[b], column = head * dim;
    attend_head_backward<T>(head_of(args, begins, sequence, head, dim), rows_of<T>(qkv[0], query, column),
                            rows_of<T>(qkv[1], key, column), rows_of<T>(qkv[2], key, column),
                            rows_of<T>(out_grad, query, column), rows_of<T>(grads[0], query, column),
                            rows_of<T>(grads[1], key, column), rows_of<T>(grads[2], key, column), scratch);
  });
}

torch::Tensor rows_contiguous(const torch::Tensor& x) {
  return x.stride(1) == 1 ? x : x.contiguous();
}

torch::Tensor run_forward(const torch::Tensor& q, const torch::Tensor& k, const torch::Tensor& v,
                          const PackedAttentionArgs& args) {
  auto out = at::empty({q.size(0), q.size(1)}, q.options());
  q.scalar_type() == at::kFloat ? forward_heads<float>(q, k, v, out, args)
                                : forward_heads<c10::BFloat16>(q, k, v, out, args);
  return out;
}

struct PackedAttention : torch::autograd::Function<PackedAttention> {
  static torch::Tensor forward(AutogradContext* ctx, const torch::Tensor& q, const torch::Tensor& k,
                               const torch::Tensor& v, const PackedAttentionArgs& args) {
    ctx->save_for_backward({q, k, v});
    ctx->saved_data["queries"] = args.queries;
    ctx->saved_data["keys"] = args.keys;
    ctx->saved_data["heads"] = args.heads;
    ctx->saved_data["dropout"] = args.dropout;
    ctx->saved_data["seed"] = static_cast<int64_t>(args.seed);
    return run_forward(q, k, v, args);
  }

  static variable_list backward(AutogradContext* ctx, const variable_list& out_grads) {
    D2D_CHECK(!at::GradMode::is_enabled(), "[attention]: has no gradient of its gradient");
    const auto qkv = ctx->get_saved_variables();
    const PackedAttentionArgs args{ctx->saved_data["queries"].toIntVector(),
                                   ctx->saved_data["keys"].toIntVector(), ctx->saved_data["heads"].toInt(),
                                   ctx->saved_data["dropout"].toDouble(),
                                   static_cast<uint64_t>(ctx->saved_data["seed"].toInt())};
    const auto out_grad = rows_contiguous(out_grads[0]);
    variable_list grads;
    for (const auto& x : qkv) grads.push_back(at::empty({x.size(0), x.size(1)}, x.options()));
    qkv[0].scalar_type() == at::kFloat ? backward_heads<float>(qkv, out_grad, grads, args)
                                       : backward_heads<c10::BFloat16>(qkv, out_grad, grads, args);
    return {grads[0], grads[1], grads[2], {}};
  }
};

}  // namespace

bool packed_attention_fits(const torch::Tensor& q, const torch::Tensor& k, const torch::Tensor& v,
                           int64_t longest) {
  const auto type = q.scalar_type();
  return q.is_cpu() && (type == at::kFloat || type == at::kBFloat16) && k.scalar_type() == type &&
         v.scalar_type() == type && longest <= kLongestHead;
}

torch::Tensor packed_attention(const torch::Tensor& q, const torch::Tensor& k, const torch::Tensor& v,
                               PackedAttentionArgs args) {
  const auto query = rows_contiguous(q), key = rows_contiguous(k), value = rows_contiguous(v);
  const bool gradient =
      at::GradMode::is_enabled() && (q.requires_grad() || k.requires_grad() || v.requires_grad());
  if (!gradient) return run_forward(query, key, value, args);
  return PackedAttention::apply(query, key, value, args);
}

}  // namespace d2dmoe::nn
