#include "d2dmoe/cluster/split_statistics.h"

#include <torch/types.h>

#include <algorithm>

#include "d2dmoe/core/error.h"
#include "d2dmoe/core/random.h"

namespace d2dmoe::cluster {
namespace {

// Activations that are never exactly 0 (GELU, SiLU) count as active above this share of their row's largest
// one.
constexpr double kActiveShare = 0.01;
// An activation function with exact zeros leaves at least this share of them.
constexpr double kExactZeros = 0.01;

torch::Tensor active_count(const torch::Tensor& h) {  // h [n, F] -> [F]
  const torch::Tensor zero = h.eq(0);
  if (zero.to(torch::kFloat).mean().item<double>() >= kExactZeros)
    return zero.logical_not().sum(0).to(torch::kFloat);
  const torch::Tensor size = h.abs();
  return size.gt(size.amax(1, /*keepdim=*/true) * kActiveShare).sum(0).to(torch::kFloat);
}

// Adds token rows to the sketch, the first of them being row `first` of the site.
void add_to_sketch(torch::Tensor& sketch, const torch::Tensor& h, int64_t first) {
  const int64_t rows = h.size(0);
  std::vector<float> signs(static_cast<size_t>(rows));
  for (int64_t t = 0; t < rows; ++t) {
    const uint64_t bits = derive_seed(0, "activity sign", static_cast<uint64_t>((first + t) / 64));
    signs[t] = (bits >> ((first + t) % 64) & 1) != 0 ? 1.0f : -1.0f;
  }
  const torch::Tensor signed_rows = h * torch::tensor(signs).to(h.device()).unsqueeze(1);
  for (int64_t t = 0; t < rows;) {  // stretches that meet each number once
    const int64_t at = (first + t) % kActivityWidth, count = std::min(rows - t, kActivityWidth - at);
    sketch.narrow(0, at, count) += signed_rows.narrow(0, t, count);
    t += count;
  }
}

}  // namespace

SplitStatistics::SplitStatistics(SplitNeeds needs, int64_t max_tokens, int64_t gram_items)
    : needs_(needs), max_tokens_(max_tokens), gram_items_(gram_items) {
  D2D_CHECK_USAGE(max_tokens > 0, "[split statistics] 'max_tokens': got {}, must be positive", max_tokens);
}

void SplitStatistics::on_activation(const nn::SiteId& site, const torch::Tensor& /*pre*/,
                                    const torch::Tensor& /*post*/, const torch::Tensor& hidden) {
  Sums& sums = sites_[site.index];
  const int64_t rows = std::min(hidden.size(0), max_tokens_ - sums.tokens);
  if (rows <= 0) return;
  const int64_t neurons = hidden.size(1);
  const torch::Tensor h = hidden.detach().narrow(0, 0, rows).to(torch::kFloat);
  const int64_t first = sums.tokens;
  sums.tokens += rows;
  const torch::NoGradGuard no_grad;
  if (needs_.coactivation && neurons > gram_items_) {
    if (!sums.activity.defined()) sums.activity = torch::zeros({kActivityWidth, neurons}, h.options());
    add_to_sketch(sums.activity, h, first);
  } else if (needs_.coactivation) {
    if (!sums.coactivation.defined()) sums.coactivation = torch::zeros({neurons, neurons}, h.options());
    sums.coactivation.addmm_(h.t(), h);
  }
  if (needs_.rate) {
    if (!sums.active.defined()) sums.active = torch::zeros({neurons}, h.options());
    sums.active += active_count(h);
  }
  if (needs_.importance && hidden.requires_grad()) {
    if (!sums.importance.defined()) sums.importance = torch::zeros({neurons}, h.options());
    hidden.register_hook([&sums, h, rows](const torch::Tensor& grad) {
      const torch::NoGradGuard inside;
      sums.importance += (h * grad.narrow(0, 0, rows).to(torch::kFloat)).abs().sum(0);
      sums.importance_tokens += rows;
    });
  }
}

bool SplitStatistics::done() const {
  return !sites_.empty() && std::all_of(sites_.begin(), sites_.end(),
                                        [&](const auto& s) { return s.second.tokens >= max_tokens_; });
}

int64_t SplitStatistics::tokens(int64_t site_index) const {
  const auto found = sites_.find(site_index);
  return found == sites_.end() ? 0 : found->second.tokens;
}

void SplitStatistics::fill(SplitInput& input, int64_t site_index) const {
  const auto found = sites_.find(site_index);
  D2D_CHECK(found != sites_.end() && found->second.tokens > 0,
            "[split statistics] site {}: no activations were seen. Hint: is the calibration data empty?",
            site_index);
  const Sums& sums = found->second;
  if (needs_.coactivation) input.coactivation = sums.coactivation;
  if (sums.activity.defined())
    input.activity = sums.activity.narrow(0, 0, std::min(sums.tokens, kActivityWidth)).t();
  if (needs_.rate) input.rate = sums.active / static_cast<double>(sums.tokens);
  if (needs_.importance) {
    D2D_CHECK(sums.importance_tokens > 0,
              "[split statistics] site {}: importance needs gradients, and none came. Hint: run the "
              "calibration with gradients and call backward() on the loss",
              site_index);
    input.importance = sums.importance / static_cast<double>(sums.importance_tokens);
  }
}

}  // namespace d2dmoe::cluster
