#include "d2dmoe/moe/selection.h"

#include <ATen/Parallel.h>
#include <torch/types.h>

#include <atomic>
#include <cmath>
#include <limits>

#include "d2dmoe/core/error.h"
#include "d2dmoe/moe/selection_rules.h"

namespace d2dmoe::moe {
namespace {

/// The rule's entry; nullptr for "all".
const rules::Rule* find_rule(const Selection& selection) {
  if (selection.rule == "all") return nullptr;
  if (const auto* rule = rules::find(selection.rule)) return rule;
  throw Error(format("[selection] '{}': unknown rule{}", selection.rule,
                     choice_hint(selection.rule, selection_rules())));
}

void check_value(const rules::Rule& rule, const Selection& selection, int64_t experts) {
  const double high = rule.high > 0 ? rule.high
                      : experts > 0 ? static_cast<double>(experts)
                                    : std::numeric_limits<double>::infinity();
  const bool inside = selection.value >= rule.low && selection.value <= high;  // false for NaN
  D2D_CHECK(inside && (!rule.whole || selection.value == std::floor(selection.value)),
            "[selection] '{}': got value {}, must be {} in [{}, {}]", selection.rule, selection.value,
            rule.whole ? "a whole number" : "a number", rule.low, high);
}

/// True when each score is finite and >= 0.
bool usable(const float* scores, int64_t count) {
  bool good = true;
#pragma omp simd reduction(& : good)
  for (int64_t i = 0; i < count; ++i) {
    good &= (scores[i] >= 0.0f) & (scores[i] <= std::numeric_limits<float>::max());
  }
  return good;
}

torch::Tensor select_rows(const torch::Tensor& scores, const RowSelector& selector) {
  const auto contiguous = scores.contiguous();
  const int64_t rows = scores.size(0), experts = scores.size(1);
  auto mask = torch::empty({rows, experts}, torch::kBool);
  const float* in = contiguous.const_data_ptr<float>();
  bool* out = mask.mutable_data_ptr<bool>();
  std::atomic<bool> good{true};
  constexpr int64_t kValuesPerTask = 1 << 15;  // below this, starting threads costs more than the work
  at::parallel_for(0, rows, std::max<int64_t>(1, kValuesPerTask / experts), [&](int64_t begin, int64_t end) {
    if (!usable(in + begin * experts, (end - begin) * experts)) {
      good = false;
      return;
    }
    for (int64_t n = begin; n < end; ++n) selector(in + n * experts, out + n * experts);
  });
  if (!good) selector.refuse_scores();
  return mask;
}

float floor_of(const Selection& selection, double mean_norm) {
  const auto floor = static_cast<float>(selection.floor * mean_norm);
  D2D_CHECK(std::isfinite(floor), "[selection] '{}': got floor {} times mean norm {}, must be finite",
            selection.rule, selection.floor, mean_norm);
  return floor;
}

}  // namespace

std::vector<std::string> selection_rules() {
  std::vector<std::string> names;
  for (const auto& rule : rules::table()) names.emplace_back(rule.name);
  names.emplace_back("all");
  for (const auto& rule : rules::table())
    names.push_back(std::string(rules::kOracle) + std::string(rule.name));
  return names;
}

void check_selection(const Selection& selection, int64_t experts) {
  D2D_CHECK(selection.floor >= 0 && std::isfinite(selection.floor),
            "[selection] '{}': got floor {}, must be a number >= 0", selection.rule, selection.floor);
  if (const auto* rule = find_rule(selection)) check_value(*rule, selection, experts);
}

RowSelector::RowSelector(const Selection& selection, int64_t experts, double mean_norm)
    : experts_(experts), value_(selection.value), floor_(0) {
  check_selection(selection, experts);
  const auto* rule = find_rule(selection);
  if (rule == nullptr) return;
  row_ = rule->row;
  name_ = rule->name;
  floor_ = floor_of(selection, mean_norm);
}

void RowSelector::operator()(const float* scores, bool* mask) const {
  thread_local std::vector<int32_t> order;
  if (row_ == nullptr)
    std::fill_n(mask, experts_, true);
  else
    row_(scores, experts_, value_, floor_, mask, order);
}

void RowSelector::refuse_scores() const {
  throw Error(format(
      "[selection] '{}': a score is NaN, infinite or negative, must be finite and >= 0. Hint: the model "
      "or its routers have diverged",
      name_));
}

torch::Tensor select(const torch::Tensor& scores, const Selection& selection, double mean_norm) {
  D2D_CHECK(scores.dim() == 2 && scores.scalar_type() == torch::kFloat32,
            "[selection] scores: got shape {} of {}, must be [N, E] float32", scores.sizes(),
            c10::toString(scores.scalar_type()));
  const RowSelector selector(selection, scores.size(1), mean_norm);
  if (!selector.reads_scores())
    return torch::ones(scores.sizes(), scores.options().dtype(torch::kBool).requires_grad(false));
  torch::NoGradGuard no_grad;
  if (scores.size(1) == 0) return torch::zeros(scores.sizes(), scores.options().dtype(torch::kBool));
  if (scores.is_cpu()) return select_rows(scores, selector);
  return find_rule(selection)->tensor(scores, selection.value, floor_of(selection, mean_norm));
}

}  // namespace d2dmoe::moe
