#include "d2dmoe/stages/routed_training.h"

#include <cmath>

#include "d2dmoe/core/error.h"
#include "d2dmoe/core/random.h"
#include "d2dmoe/eval/placement.h"
#include "d2dmoe/eval/setting.h"
#include "d2dmoe/kernels/break_even.h"
#include "d2dmoe/stages/selection_request.h"

namespace d2dmoe::stages {
namespace {

/// Whether the rule's values are numbers of experts.
bool counts_experts(const config::RoutedTrainOptions& options) {
  return options.rule == "top_k";
}

moe::Selection validation_selection(const config::RoutedTrainOptions& options) {
  const auto& range = options.tau_range;
  const double middle = (range[0] + range[1]) / 2;
  const double value = options.validation_tau.value_or(counts_experts(options) ? std::round(middle) : middle);
  return {options.rule, value, 0};
}

}  // namespace

void prepare_routed(models::Model& model, const config::RoutedTrainOptions& options) {
  for (const double value : options.tau_range)
    check_selection_of_sites("[config] 'train_routed.tau_range'", model, {options.rule, value, 0});
  if (!options.tau_range.empty())
    check_selection_of_sites("[config] 'train_routed.validation_tau'", model, validation_selection(options));
  for (const auto& site : eval::converted_sites(model)) {
    for (const auto& weight : site.layer->router()->weights()) torch::Tensor(weight).set_requires_grad(false);
    if (options.tau_range.empty()) continue;
    site.layer->selection() = validation_selection(options);
  }
}

moe::Selection drawn_selection(const config::RoutedTrainOptions& options, uint64_t seed, int64_t step) {
  const double low = options.tau_range[0], high = options.tau_range[1];
  Rng rng(derive_seed(seed, "routing", static_cast<uint64_t>(step)));
  if (counts_experts(options))
    return {options.rule, low + static_cast<double>(rng.below(static_cast<uint64_t>(high - low) + 1)), 0};
  return {options.rule, low + (high - low) * rng.uniform(), 0};
}

void refresh_mean_norms(models::Model& model, const data::Dataset& train, uint64_t seed,
                        torch::Device device) {
  const kernels::RepeatableChoice repeatable;  // as in training: the norms belong to the saved bytes
  constexpr int64_t kTokens = 8192;  // a mean over tokens and experts: known to a percent long before
  const eval::ScoreSample sample(model, train, /*oracle=*/false, kTokens, seed, device);
  int64_t index = 0;
  for (const auto& site : eval::converted_sites(model)) site.layer->set_mean_norm(sample.mean_score(index++));
}

}  // namespace d2dmoe::stages
