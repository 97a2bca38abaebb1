#pragma once

#include <torch/types.h>

#include <map>
#include <utility>
#include <vector>

#include "d2dmoe/nn/forward_context.h"

namespace d2dmoe::nn {

/// Keys and values of what a batch of sequences has had so far, so that a decoder computes only what is new.
/// The sequences may be of different lengths. A decoder that finds one in its ForwardContext treats the batch
/// as the tokens that follow; nothing else needs to be called between two forward passes.
class KvCache {
 public:
  /// @param sequences  B: every batch must have as many, in the same order
  /// @param capacity   tokens per sequence, allocated now
  /// @param options    dtype and device of the keys
  KvCache(int64_t layers, int64_t sequences, int64_t capacity, int64_t kv_heads, int64_t head_dim,
          const torch::TensorOptions& options);

  int64_t size() const { return static_cast<int64_t>(lengths_.size()); }
  int64_t capacity() const { return capacity_; }
  /// Tokens that each sequence has had.
  const std::vector<int64_t>& lengths() const { return lengths_; }
  /// Goes on with these sequences, in this order; one may be chosen several times (beams) or never
  /// (finished).
  void select(const std::vector<int64_t>& sequences);

  // For decoders: begin, then store once per layer, then commit.

  /// Prepares for a batch of new tokens.
  /// @throws Error  not as many sequences as the cache has; one grows beyond the capacity
  void begin(const SequenceLayout& layout);
  /// No sequence had a token before the batch: its keys are all keys.
  bool was_empty() const { return was_empty_; }
  /// Largest length with the batch's tokens.
  int64_t longest() const { return longest_; }
  /// [N] int64: the batch's tokens within their sequences.
  const torch::Tensor& positions() const { return positions_; }
  /// Stores the batch's keys and values of a layer.
  /// @param k, v  [N, kv_heads * head_dim]
  void store(int64_t layer, const torch::Tensor& k, const torch::Tensor& v);
  /// All keys and values of a layer: [B, kv_heads, longest, head_dim] each, zeros behind a sequence's end.
  std::pair<torch::Tensor, torch::Tensor> all(int64_t layer) const;
  /// [B, 1, longest of the batch, longest] bool: which keys the batch's tokens see. Undefined where each
  /// sees all.
  /// @param window  as SequenceLayout::causal_mask
  const torch::Tensor& mask(int64_t window);
  /// The batch's tokens are part of the sequences from now on.
  void commit();

 private:
  int64_t capacity_, kv_heads_, head_dim_;
  std::vector<torch::Tensor> keys_, values_;  // per layer: [B * capacity, kv_heads * head_dim]
  std::vector<int64_t> lengths_, added_;
  bool was_empty_ = true;
  int64_t longest_ = 0;
  torch::Tensor positions_, rows_;          // [N]; rows_: where in keys_
  std::map<int64_t, torch::Tensor> masks_;  // of the batch, by window
};

}  // namespace d2dmoe::nn
