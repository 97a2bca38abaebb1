#include "d2dmoe/moe/selection_rules.h"

#include <torch/types.h>

#include <algorithm>
#include <bit>
#include <numeric>

namespace d2dmoe::moe::rules {
namespace {

// --- one row
// ---------------------------------------------------------------------------------------------------

void dynamic_k_row(const float* scores, int64_t experts, double tau, float floor, bool* mask,
                   std::vector<int32_t>&) {
  float best = 0;
#pragma omp simd reduction(max : best)
  for (int64_t e = 0; e < experts; ++e) best = std::max(best, scores[e]);
  const float threshold = std::max(static_cast<float>(tau) * best, floor);
#pragma omp simd
  for (int64_t e = 0; e < experts; ++e) mask[e] = (scores[e] >= threshold) & (scores[e] > 0);
}

/// Fills `order` with the experts that may run at all.
void candidates(const float* scores, int64_t experts, float floor, std::vector<int32_t>& order) {
  order.clear();
  for (int64_t e = 0; e < experts; ++e) {
    if (scores[e] > 0 && scores[e] >= floor) order.push_back(static_cast<int32_t>(e));
  }
}

void cumulative_row(const float* scores, int64_t experts, double p, float floor, bool* mask,
                    std::vector<int32_t>& order) {
  std::fill_n(mask, experts, false);
  const double wanted = p * std::accumulate(scores, scores + experts, 0.0);
  candidates(scores, experts, floor, order);
  // A heap gives the largest one by one: few are needed as a rule, a full sort would be wasted.
  const auto later = [scores](int32_t a, int32_t b) {
    return scores[a] < scores[b] || (scores[a] == scores[b] && a > b);
  };
  std::make_heap(order.begin(), order.end(), later);
  auto end = order.end();
  for (double sum = 0; sum < wanted && end != order.begin(); --end) {
    std::pop_heap(order.begin(), end, later);
    mask[*(end - 1)] = true;
    sum += scores[*(end - 1)];
  }
}

/// How many scores have at least these bits. Floats that are not negative are ordered as their bits are.
int64_t count_from(const float* scores, int64_t experts, int32_t bits) {
  int32_t count = 0;
#pragma omp simd reduction(+ : count)
  for (int64_t e = 0; e < experts; ++e) count += std::bit_cast<int32_t>(scores[e]) >= bits;
  return count;
}

/// Halves the range of bits until as many scores as wanted lie above: a few passes without a branch that
/// depends on a score, where sorting would mispredict at every comparison.
void top_k_row(const float* scores, int64_t experts, double k, float floor, bool* mask,
               std::vector<int32_t>&) {
  const auto wanted = std::min(static_cast<int64_t>(k), experts);
  float best = 0;
#pragma omp simd reduction(max : best)
  for (int64_t e = 0; e < experts; ++e) best = std::max(best, scores[e]);
  // At least `low` have more than wanted, at least `high` at most wanted.
  int32_t low = 0, high = std::bit_cast<int32_t>(best) + 1;
  int64_t above = 0;
  if (wanted == experts) high = 0, above = experts;
  constexpr int32_t kFourOctaves = 4 << 23;  // most of what counts is within a sixteenth of the best
  if (const int32_t guess = high - kFourOctaves; guess > 0 && above < wanted) {
    const int64_t count = count_from(scores, experts, guess);
    if (count <= wanted)
      high = guess, above = count;
    else
      low = guess;
  }
  while (above < wanted && high - low > 1) {
    const int32_t middle = low + (high - low) / 2;
    const int64_t count = count_from(scores, experts, middle);
    if (count <= wanted)
      high = middle, above = count;
    else
      low = middle;
  }
#pragma omp simd
  for (int64_t e = 0; e < experts; ++e)
    mask[e] = (std::bit_cast<int32_t>(scores[e]) >= high) & (scores[e] > 0) & (scores[e] >= floor);
  if (!(std::bit_cast<float>(low) > 0) || std::bit_cast<float>(low) < floor) return;
  for (int64_t e = 0; e < experts && above < wanted; ++e) {  // equals: the lowest index first
    if (std::bit_cast<int32_t>(scores[e]) != low) continue;
    mask[e] = true;
    ++above;
  }
}

// --- all rows
// --------------------------------------------------------------------------------------------------

torch::Tensor may_run(const torch::Tensor& scores, float floor) {
  return floor > 0 ? scores.ge(floor) : scores.gt(0);
}

torch::Tensor dynamic_k_tensor(const torch::Tensor& scores, double tau, float floor) {
  const auto threshold = scores.amax(1, /*keepdim=*/true).mul(static_cast<float>(tau));
  return scores.ge(threshold).logical_and_(may_run(scores, floor));
}

torch::Tensor cumulative_tensor(const torch::Tensor& scores, double p, float floor) {
  const auto [sorted, order] = scores.sort(/*stable=*/true, /*dim=*/1, /*descending=*/true);
  const auto values = sorted.to(torch::kFloat64);
  const auto before = values.cumsum(1).sub_(values);  // sum of the larger ones
  const auto runs = before.lt(values.sum(1, true).mul_(p));
  return torch::zeros_like(runs).scatter_(1, order, runs).logical_and_(may_run(scores, floor));
}

torch::Tensor top_k_tensor(const torch::Tensor& scores, double k, float floor) {
  const auto order = std::get<1>(scores.sort(/*stable=*/true, /*dim=*/1, /*descending=*/true));
  return torch::zeros(scores.sizes(), scores.options().dtype(torch::kBool))
      .scatter_(1, order.narrow(1, 0, static_cast<int64_t>(k)), true)
      .logical_and_(may_run(scores, floor))
      .logical_and_(scores.eq(scores).all(1, /*keepdim=*/true));  // a row with NaN runs no expert
}

}  // namespace

const std::vector<Rule>& table() {
  static const std::vector<Rule> rules = {
      {"dynamic_k", "tau", 0, 1, /*whole=*/false, /*grows=*/false, dynamic_k_row, dynamic_k_tensor},
      {"cumulative", "p", 0, 1, /*whole=*/false, /*grows=*/true, cumulative_row, cumulative_tensor},
      {"top_k", "k", 1, 0, /*whole=*/true, /*grows=*/true, top_k_row, top_k_tensor},
  };
  return rules;
}

const Rule* find(std::string_view name) {
  if (name.starts_with(kOracle)) name.remove_prefix(kOracle.size());
  for (const auto& rule : table())
    if (rule.name == name) return &rule;
  return nullptr;
}

}  // namespace d2dmoe::moe::rules
