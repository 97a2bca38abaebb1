#include "d2dmoe/stages/router_regret.h"

#include <algorithm>

#include "d2dmoe/eval/evaluate.h"
#include "d2dmoe/eval/metrics.h"
#include "d2dmoe/eval/placement.h"

namespace d2dmoe::stages {
namespace {

constexpr int64_t kSentences = 500;  // a first look in seconds; sweep-tau measures on everything
constexpr int64_t kTokens = 32768;
constexpr int64_t kSampleTokens = 4096;
constexpr double kShares[] = {0.05, 0.1, 0.2};

}  // namespace

std::vector<Regret> router_regret(models::Model& model, const data::Dataset& dataset,
                                  const std::string& metric, uint64_t seed, torch::Device device) {
  const data::Dataset some = dataset.first(kSentences).first_tokens(kTokens);
  std::vector<Regret> regrets;
  if (some.empty()) return regrets;
  for (const double share : kShares) regrets.push_back({.executed = share});
  for (const bool oracle : {false, true}) {
    moe::Selection selection{oracle ? "oracle_dynamic_k" : "dynamic_k"};
    const eval::ScoreSample sample(model, some, oracle, kSampleTokens, seed, device);
    const auto range = eval::value_range(selection.rule, sample.least_routed_experts());
    for (auto& regret : regrets) {
      selection.value =
          eval::value_for_share(selection, range, regret.executed,
                                [&](const moe::Selection& s) { return sample.executed_share(s); });
      eval::EvaluateOptions options;
      options.device = device;
      options.selection = &selection;
      const double value = eval::metric(metric, eval::evaluate(model, some, options));
      (oracle ? regret.oracle_metric : regret.router_metric) = value;
    }
  }
  return regrets;
}

}  // namespace d2dmoe::stages
