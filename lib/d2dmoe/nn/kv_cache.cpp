#include "d2dmoe/nn/kv_cache.h"

#include <ATen/Functions.h>

#include <algorithm>

#include "d2dmoe/core/error.h"

namespace d2dmoe::nn {

KvCache::KvCache(int64_t layers, int64_t sequences, int64_t capacity, int64_t kv_heads, int64_t head_dim,
                 const torch::TensorOptions& options)
    : capacity_(capacity), kv_heads_(kv_heads), head_dim_(head_dim) {
  D2D_CHECK(sequences >= 1 && capacity >= 1, "[kv cache]: got {} sequences of {} tokens, must be >= 1",
            sequences, capacity);
  lengths_.assign(static_cast<size_t>(sequences), 0);
  for (int64_t i = 0; i < layers; ++i)
    for (auto* tensors : {&keys_, &values_})  // zeros: no masked value may be NaN
      tensors->push_back(torch::zeros({sequences * capacity, kv_heads * head_dim}, options));
}

void KvCache::select(const std::vector<int64_t>& sequences) {
  const torch::NoGradGuard no_grad;
  std::vector<int64_t> lengths;
  for (const int64_t i : sequences) {
    D2D_CHECK(i >= 0 && i < size(), "[kv cache] select: got sequence {}, the cache has {}", i, size());
    lengths.push_back(lengths_[static_cast<size_t>(i)]);
  }
  D2D_CHECK(!lengths.empty(), "[kv cache] select: got no sequence, must be at least one");
  const auto index = torch::tensor(sequences, torch::kInt64).to(keys_.front().device());
  for (auto* tensors : {&keys_, &values_})
    for (auto& rows : *tensors)
      rows = rows.view({size(), capacity_, -1}).index_select(0, index).flatten(0, 1);
  lengths_ = std::move(lengths);
}

void KvCache::begin(const SequenceLayout& layout) {
  D2D_CHECK(layout.size() == size(), "[kv cache]: got a batch of {} sequences, the cache holds {}",
            layout.size(), size());
  added_ = layout.lengths();
  longest_ = 0;
  masks_.clear();
  was_empty_ = std::all_of(lengths_.begin(), lengths_.end(), [](int64_t n) { return n == 0; });
  auto positions = torch::empty({layout.tokens()}, torch::kInt64), rows = torch::empty_like(positions);
  auto *position = positions.data_ptr<int64_t>(), *row = rows.data_ptr<int64_t>();
  for (size_t b = 0; b < lengths_.size(); ++b) {
    const int64_t length = lengths_[b] + added_[b];
    D2D_CHECK(length <= capacity_, "[kv cache] sequence {}: got {} tokens, the cache has room for {}", b,
              length, capacity_);
    longest_ = std::max(longest_, length);
    for (int64_t t = lengths_[b]; t < length; ++t)
      *position++ = t, *row++ = static_cast<int64_t>(b) * capacity_ + t;
  }
  const auto device = keys_.front().device();
  positions_ = positions.to(device);
  rows_ = rows.to(device);
}

void KvCache::store(int64_t layer, const torch::Tensor& k, const torch::Tensor& v) {
  const torch::NoGradGuard no_grad;
  auto &keys = keys_.at(static_cast<size_t>(layer)), &values = values_.at(static_cast<size_t>(layer));
  keys.index_copy_(0, rows_, k.detach().to(keys.scalar_type()));
  values.index_copy_(0, rows_, v.detach().to(values.scalar_type()));
}

std::pair<torch::Tensor, torch::Tensor> KvCache::all(int64_t layer) const {
  const auto view = [&](const torch::Tensor& rows) {
    return rows.view({size(), capacity_, kv_heads_, head_dim_}).narrow(1, 0, longest_).transpose(1, 2);
  };
  return {view(keys_.at(static_cast<size_t>(layer))), view(values_.at(static_cast<size_t>(layer)))};
}

const torch::Tensor& KvCache::mask(int64_t window) {
  const auto [entry, is_new] = masks_.try_emplace(window);
  if (!is_new) return entry->second;
  const int64_t queries = *std::max_element(added_.begin(), added_.end());
  const bool aligned = std::all_of(lengths_.begin(), lengths_.end(),
                                   [&](int64_t length) { return length + queries == longest_; });
  if (queries == 1 && aligned && (window == 0 || longest_ <= window)) return entry->second;
  const auto device = keys_.front().device();
  const auto first = torch::tensor(lengths_, torch::kInt64).to(device).view({-1, 1, 1, 1});
  const auto query = first + torch::arange(queries, torch::dtype(torch::kInt64).device(device)).view({-1, 1});
  const auto key = torch::arange(longest_, torch::dtype(torch::kInt64).device(device));
  entry->second = key <= query;
  if (window > 0) entry->second = entry->second.logical_and_(key > query - window);
  return entry->second;
}

void KvCache::commit() {
  for (size_t b = 0; b < lengths_.size(); ++b) lengths_[b] += added_[b];
}

}  // namespace d2dmoe::nn
