#include "d2dmoe/nn/forward_context.h"

#include <algorithm>

#include "d2dmoe/core/error.h"

namespace d2dmoe::nn {

std::string site_kind_name(SiteKind kind) {
  switch (kind) {
    case SiteKind::ffn:
      return "ffn";
    case SiteKind::attention_q:
      return "q";
    case SiteKind::attention_k:
      return "k";
    case SiteKind::attention_v:
      return "v";
    case SiteKind::attention_o:
      return "o";
  }
  D2D_CHECK(false, "[nn] site kind: got {}, must be one of SiteKind", static_cast<int64_t>(kind));
  return {};
}

SequenceLayout::SequenceLayout(std::vector<int64_t> lengths, torch::Device device)
    : lengths_(std::move(lengths)), device_(device) {
  for (size_t i = 0; i < lengths_.size(); ++i) {
    D2D_CHECK(lengths_[i] >= 1, "[batch] sequence {}: got {} tokens, must be >= 1", i, lengths_[i]);
    tokens_ += lengths_[i];
    longest_ = std::max(longest_, lengths_[i]);
  }
}

const torch::Tensor& SequenceLayout::padded_index() const {
  if (!padded_index_.defined()) {
    auto index = torch::empty({tokens_}, torch::kInt64);
    auto* out = index.data_ptr<int64_t>();
    for (int64_t b = 0; b < size(); ++b)
      for (int64_t t = 0; t < lengths_[b]; ++t) *out++ = b * longest_ + t;
    padded_index_ = index.to(device_);
  }
  return padded_index_;
}

const torch::Tensor& SequenceLayout::key_mask() const {
  if (!key_mask_.defined()) {
    auto mask = torch::zeros({size(), 1, 1, longest_}, torch::kBool);
    auto* row = mask.data_ptr<bool>();
    for (int64_t b = 0; b < size(); ++b, row += longest_) std::fill_n(row, lengths_[b], true);
    key_mask_ = mask.to(device_);
  }
  return key_mask_;
}

const torch::Tensor& SequenceLayout::causal_mask(int64_t window) const {
  auto& mask = causal_masks_[window];
  if (!mask.defined()) {
    mask = torch::ones({longest_, longest_}, torch::dtype(torch::kBool).device(device_)).tril_();
    if (window > 0) mask.triu_(1 - window);
  }
  return mask;
}

const torch::Tensor& SequenceLayout::first_rows() const {
  if (!first_rows_.defined()) {
    auto rows = torch::empty({size()}, torch::kInt64);
    auto* out = rows.data_ptr<int64_t>();
    int64_t row = 0;
    for (const int64_t length : lengths_) {
      *out++ = row;
      row += length;
    }
    first_rows_ = rows.to(device_);
  }
  return first_rows_;
}

bool ForwardContext::wants_activations() const {
  return std::any_of(observers.begin(), observers.end(),
                     [](const Observer* o) { return o->wants_activations(); });
}

void ForwardContext::on_input(const SiteId& site, const torch::Tensor& x) const {
  for (auto* observer : observers) observer->on_input(site, x);
}

void ForwardContext::on_activation(const SiteId& site, const torch::Tensor& pre, const torch::Tensor& post,
                                   const torch::Tensor& hidden) const {
  for (auto* observer : observers) observer->on_activation(site, pre, post, hidden);
}

void ForwardContext::on_projection(const SiteId& projection, const torch::Tensor& x,
                                   const torch::Tensor& y) const {
  for (auto* observer : observers) observer->on_projection(projection, x, y);
}

void ForwardContext::on_routing(const SiteId& site, const torch::Tensor& scores, const torch::Tensor& mask,
                                bool dense) const {
  for (auto* observer : observers) observer->on_routing(site, scores, mask, dense);
}

}  // namespace d2dmoe::nn
