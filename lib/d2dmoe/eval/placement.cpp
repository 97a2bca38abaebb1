#include "d2dmoe/eval/placement.h"

#include <algorithm>
#include <cmath>

#include "d2dmoe/core/error.h"
#include "d2dmoe/eval/evaluate.h"
#include "d2dmoe/moe/selection_rules.h"

namespace d2dmoe::eval {
namespace {

/// Keeps the scores of each site, in the order of the forward pass.
class ScoreCollector : public nn::Observer {
 public:
  std::vector<std::vector<torch::Tensor>> scores;  // by site index
  void on_routing(const nn::SiteId& site, const torch::Tensor& s, const torch::Tensor&, bool) override {
    const auto index = static_cast<size_t>(site.index);
    if (scores.size() <= index) scores.resize(index + 1);
    scores[index].push_back(s.to(torch::kCPU));
  }
};

/// Four significant digits: values that people can read, and the same ones on every run.
double rounded(double value) {
  if (value == 0) return 0;
  const double scale = std::pow(10.0, 3 - std::floor(std::log10(std::abs(value))));
  return std::round(value * scale) / scale;
}

}  // namespace

ScoreSample::ScoreSample(models::Model& model, const data::Dataset& dataset, bool oracle, int64_t tokens,
                         uint64_t seed, torch::Device device) {
  constexpr int64_t kBatch = 16;  // small, so that the sample holds sentences of several lengths
  const torch::NoGradGuard no_grad;
  const EvaluationMode mode(model);
  // tau 0 runs every expert that has a score; what is sampled is then what the first routed layer will see
  // too.
  const ScopedSetting setting(
      model, uniform_setting(model, {oracle ? "oracle_dynamic_k" : "dynamic_k", /*value=*/0, /*floor=*/0}));
  ScoreCollector collector;
  int64_t seen = 0;
  for (const auto& rows : data::epoch_batches(dataset, kBatch, /*shuffle=*/true, seed, 0)) {
    const auto batch = dataset.collate(rows).to(device);
    nn::ForwardContext context(batch);
    context.observers.push_back(&collector);
    models::run_layers(model, batch, context);
    seen += batch.tokens();
    if (seen >= tokens) break;
  }
  for (const auto& site : converted_sites(model)) {
    const auto index = static_cast<size_t>(site.id.index);
    D2D_CHECK(index < collector.scores.size() && !collector.scores[index].empty(),
              "[score sample] '{}': this converted site reported no scores", site.id.name);
    // Shared experts always run; the rule sees the others.
    sites_.push_back(
        {torch::cat(collector.scores[index]).narrow(1, site.layer->shared(), site.layer->routed()),
         site.layer->mean_norm(), static_cast<double>(site.layer->weights().hidden()),
         site.layer->experts()});
  }
  D2D_CHECK(!sites_.empty(),
            "[score sample] 'model': has no converted site. Hint: run `d2dmoe convert` first");
}

double ScoreSample::mean_score(int64_t site) const {
  return sites_.at(static_cast<size_t>(site)).scores.mean(torch::kFloat64).item<double>();
}

int64_t ScoreSample::least_routed_experts() const {
  int64_t least = sites_.front().scores.size(1);
  for (const auto& site : sites_) least = std::min(least, site.scores.size(1));
  return least;
}

double ScoreSample::executed_share(int64_t site, const moe::Selection& selection) const {
  const auto& s = sites_.at(static_cast<size_t>(site));
  const double rows = static_cast<double>(s.scores.size(0)), experts = static_cast<double>(s.experts);
  const double shared = experts - static_cast<double>(s.scores.size(1));  // run always, and have no score
  return (moe::select(s.scores, selection, s.mean_norm).sum().item<double>() + shared * rows) /
         (rows * experts);
}

double ScoreSample::executed_share(const moe::Selection& selection) const {
  double share = 0, width = 0;
  for (int64_t i = 0; i < sites(); ++i) {
    share += executed_share(i, selection) * sites_[static_cast<size_t>(i)].width;
    width += sites_[static_cast<size_t>(i)].width;
  }
  return share / width;
}

ValueRange value_range(const std::string& rule, int64_t experts) {
  const auto* entry = moe::rules::find(rule);
  D2D_CHECK_USAGE(
      entry != nullptr,
      "[placement] '{}': this rule has no value to choose; must be dynamic_k, cumulative or top_k", rule);
  const double e = static_cast<double>(experts), high = entry->high > 0 ? entry->high : e;
  if (!entry->grows) return {high, entry->low, entry->whole};
  // The largest share of a row's sum is at least 1 / E: a smaller p still runs that one expert.
  return {std::max(entry->low, 1 / e), high, entry->whole};
}

double value_for_share(const moe::Selection& selection, const ValueRange& range, double share,
                       const std::function<double(const moe::Selection&)>& executed_share) {
  const auto share_at = [&](double value) {
    auto s = selection;
    s.value = value;
    return executed_share(s);
  };
  double cheap = range.cheapest, dear = range.dearest;
  const double resolution = range.whole ? 1 : 1e-4;
  while (std::abs(dear - cheap) > resolution) {
    double middle = (cheap + dear) / 2;
    if (range.whole) middle = std::floor(middle);
    (share_at(middle) < share ? cheap : dear) = middle;
  }
  return share - share_at(cheap) < share_at(dear) - share ? cheap : dear;
}

std::vector<double> place_points(const ScoreSample& sample, const std::string& rule, double floor,
                                 int64_t points) {
  const auto range = value_range(rule, sample.least_routed_experts());
  const auto share = [&](const moe::Selection& s) { return sample.executed_share(s); };
  const double cheapest = share({rule, range.cheapest, floor}), dearest = share({rule, range.dearest, floor});
  std::vector<double> values;
  for (int64_t i = 0; i < points; ++i) {
    const double part = points > 1 ? static_cast<double>(i) / static_cast<double>(points - 1) : 0.5;
    double value = range.dearest;
    if (points == 1 || (i > 0 && i < points - 1)) {
      value = rounded(value_for_share({rule, 0, floor}, range, dearest + part * (cheapest - dearest), share));
    } else if (i > 0) {
      value = range.cheapest;
    }
    if (std::find(values.begin(), values.end(), value) == values.end()) values.push_back(value);
  }
  return values;
}

}  // namespace d2dmoe::eval
