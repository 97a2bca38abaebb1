#include "d2dmoe/eval/calibration.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <iterator>
#include <list>
#include <map>

#include "d2dmoe/config/metric_units.h"
#include "d2dmoe/core/error.h"
#include "d2dmoe/core/log.h"
#include "d2dmoe/core/progress.h"
#include "d2dmoe/core/random.h"
#include "d2dmoe/core/signals.h"
#include "d2dmoe/eval/cost_ledger.h"
#include "d2dmoe/eval/damage_path.h"
#include "d2dmoe/eval/isotonic.h"
#include "d2dmoe/eval/metrics.h"
#include "d2dmoe/eval/placement.h"

namespace d2dmoe::eval {
namespace {

struct Measured {
  Predictions predictions;
  Cost cost;
};

class Calibrator {
 public:
  Calibrator(models::Model& model, const data::Dataset& validation, const CalibrationOptions& options)
      : model_(model), validation_(validation), options_(options), sites_(converted_sites(model)) {}

  Calibration run() {
    const auto path = damage_path();
    if (options_.budget) {
      const auto& cheapest = measure_at(path, path.end());
      D2D_CHECK_USAGE(
          cheapest.flops_share <= *options_.budget,
          "[calibration] 'budget': got {}, the cheapest setting of this model costs {:.3f} of the dense "
          "model's FLOPs on the validation data. Hint: a budget above that, more sites or smaller experts",
          *options_.budget, cheapest.flops_share);
      return finished(for_budget(path, cheapest));
    }
    return finished(for_max_drop(path));
  }

 private:
  Measured measure(const data::Dataset& dataset, const Setting& setting) {
    if (stop_requested()) throw Interrupted("[calibration] stopped: the same command starts it again");
    const ScopedSetting scope(model_, setting);
    CostLedger ledger(model_);
    EvaluateOptions evaluation;
    evaluation.batch_size = options_.batch_size;
    evaluation.device = options_.device;
    evaluation.observers = {&ledger};
    evaluation.on_batch = [&](const data::Batch& batch) { ledger.on_batch(batch); };
    auto predictions = evaluate(model_, dataset, evaluation);
    return {std::move(predictions), ledger.result()};
  }

  const Calibration& measure_at(const DamagePath& path, double position) {
    auto setting = path.at(position);
    for (const auto& c : tried_) {
      if (c.setting == setting) return c;
    }
    Calibration c;
    c.setting = std::move(setting);
    const auto measured = measure(validation_, c.setting);
    c.score = metric(options_.metric, measured.predictions);
    c.flops_share = measured.cost.flops_share;
    c.drop = config::points_worse(options_.metric, options_.dense_score, c.score);
    if (options_.max_drop) add_margins(c, measured.predictions);
    const double margin = std::max(c.margin, c.margin_to_all);
    log::info("calibration: FLOPs {:.1f} % of dense, {} {:.4f} ({:+.2f} points{}) on validation data",
              100 * c.flops_share, options_.metric, c.score, 0 - c.drop,
              margin > 0 ? format(", margin {:.2f}", margin) : "");
    return tried_.emplace_back(std::move(c));
  }

  /// Points by which `predictions` may be further below `reference` on other data than they are here.
  double margin_of(const Predictions& reference, const Predictions& predictions) const {
    constexpr int64_t kResamples = 500;
    const double lost = config::points_worse(options_.metric, metric(options_.metric, reference),
                                             metric(options_.metric, predictions));
    const double most = points_worse_at_most(options_.metric, reference, predictions, options_.confidence,
                                             kResamples, options_.seed);
    return std::max(0.0, most - lost);
  }

  /// The margins of a setting; the first predictions that come are the all-experts model's.
  void add_margins(Calibration& c, const Predictions& predictions) {
    if (options_.dense) c.margin = margin_of(*options_.dense, predictions);
    if (all_experts_)
      c.margin_to_all = margin_of(*all_experts_, predictions);
    else
      all_experts_ = predictions;
  }

  /// Searches the last position that costs more than the budget and the first that holds it; the path's own
  /// estimate, corrected by what was measured, gives each guess.
  Calibration for_budget(const DamagePath& path, const Calibration& cheapest) {
    constexpr int kGuesses = 8;
    constexpr double kClose = 0.002;  // below the budget by this share of the dense model is near enough
    constexpr double kRounding = 1e-9;
    if (fixed_cost_ + path.cost(0) <= *options_.budget + kRounding) return measure_at(path, 0);
    double dear = 0, cheap = path.end();
    auto best = cheapest;
    double estimate = *options_.budget - fixed_cost_;
    for (int i = 0; i < kGuesses && best.flops_share < *options_.budget - kClose && cheap - dear > 1e-3;
         ++i) {
      double guess = path.position_of(estimate);
      if (guess <= dear || guess >= cheap) guess = (dear + cheap) / 2;
      const auto& here = measure_at(path, guess);
      // Aims half of the tolerance below, so that the next guess lands inside.
      estimate = path.cost(guess) + *options_.budget - kClose / 2 - here.flops_share;
      if (here.flops_share <= *options_.budget) {
        cheap = guess;
        best = here;
      } else {
        dear = guess;
      }
    }
    return best;
  }

  /// The cheapest position within the bound, looked for at places evenly spread in cost, then between the
  /// cheapest good one and its neighbour. A metric of some hundred examples jumps up and down along the path,
  /// so what counts is a fit of the drops that only rises as the cost falls: neither one lucky measurement
  /// nor one unlucky decides. The drop measured at the position taken, with its margin, holds the bound as
  /// well.
  Calibration for_max_drop(const DamagePath& path) {
    constexpr int kPlaces = 6, kRefinements = 4;
    constexpr double kNear =
        2e-3;  // a smaller gap, as a share of the dense model, is not worth a measurement
    const auto& dearest = measure_at(path, 0);
    const auto& cheapest = measure_at(path, path.end());
    if (!(dearest.drop <= *options_.max_drop))
      throw OutOfReach(
          format("[calibration] 'max_drop': got {} points, this model is {:.2f} points below the dense "
                 "baseline on the validation data with all experts on. Hint: a larger bound, or a better "
                 "stage 1",
                 *options_.max_drop, dearest.drop));
    // Where the all-experts model is above the dense one on this split, much of that is luck: its checkpoint
    // was chosen on the same examples. So nothing may be more than the bound below it either.
    all_drop_ = std::min(0.0, dearest.drop);
    if (dearest.drop < 0)
      log::info(
          "calibration: with all experts {:.2f} points above the dense model here; the bound counts from "
          "there",
          -dearest.drop);
    const double dear = path.cost(0), cheap = path.cost(path.end());
    std::map<double, const Calibration*, std::greater<>> by_cost{{dear, &dearest}, {cheap, &cheapest}};
    const auto measure_cost = [&](double cost) { by_cost[cost] = &measure_at(path, path.position_of(cost)); };
    for (int i = 1; i <= kPlaces; ++i) measure_cost(dear + (cheap - dear) * i / (kPlaces + 1));
    for (int i = 0; i < kRefinements; ++i) {
      const auto good = good_places(by_cost);
      const auto next = std::next(by_cost.find(good.back()));
      if (next == by_cost.end() || good.back() - next->first < kNear) break;
      measure_cost((good.back() + next->first) / 2);
    }
    const Calibration* best = &dearest;
    for (const double cost : good_places(by_cost)) {
      // By what was measured: a router may cost more than it saves yet.
      if (by_cost[cost]->flops_share < best->flops_share) best = by_cost[cost];
    }
    return *best;
  }

  /// The keys within the bound, by the fit and by what was measured there; the dearest is always among them.
  std::vector<double> good_places(const std::map<double, const Calibration*, std::greater<>>& by_cost) const {
    std::vector<double> drops;
    for (const auto& [cost, c] : by_cost) drops.push_back(c->drop);
    const auto fit = isotonic_fit(drops);
    std::vector<double> good;
    for (auto at = by_cost.begin(); at != by_cost.end(); ++at) {
      const auto i = static_cast<size_t>(std::distance(by_cost.begin(), at));
      const double drop = std::max(fit[i], drops[i]);
      const bool holds = drop + at->second->margin <= *options_.max_drop &&
                         drop - all_drop_ + at->second->margin_to_all <= *options_.max_drop;
      if (i == 0 || holds) good.push_back(at->first);
    }
    return good;
  }

  /// Measures each site alone, all others with every expert and no router.
  DamagePath damage_path() {
    const auto sample = calibration_sample(validation_, options_);
    const ScoreSample scores(model_, sample, moe::Selection{options_.rule}.oracle(),
                             /*tokens=*/2048, options_.seed, options_.device);
    Setting reference;
    for (size_t s = 0; s < sites_.size(); ++s) reference[sites_[s].id.name] = {"all", dearest_value(s), 0};
    const auto dense = measure(sample, reference);
    double site_costs = 0;
    std::vector<std::vector<Candidate>> hulls;
    std::vector<std::string> names;
    Progress progress("calibrate sites", static_cast<int64_t>(sites_.size()), "sites");
    for (size_t s = 0; s < sites_.size(); ++s) {
      const auto& name = sites_[s].id.name;
      std::vector<Candidate> candidates{{reference.at(name), site_cost(dense.cost, s), 0}};
      for (const auto& selection : selections(scores, s)) {
        auto setting = reference;
        setting[name] = selection;
        const auto measured = measure(sample, setting);
        candidates.push_back(
            {selection, site_cost(measured.cost, s), damage(dense.predictions, measured.predictions)});
      }
      site_costs += candidates.front().cost;
      hulls.push_back(convex_hull(std::move(candidates)));
      names.push_back(name);
      progress.advance(1);
    }
    fixed_cost_ = dense.cost.flops_share - site_costs;
    return {std::move(names), std::move(hulls), value_range(options_.rule, 1).whole};
  }

  int64_t routed_experts(size_t site) const { return sites_[site].layer->routed(); }
  double dearest_value(size_t site) const { return value_range(options_.rule, routed_experts(site)).dearest; }

  /// What is tried at one site: values whose costs fall geometrically, since damage rises ever faster towards
  /// the cheap end, for every floor.
  std::vector<moe::Selection> selections(const ScoreSample& scores, size_t s) const {
    const auto range = value_range(options_.rule, routed_experts(s));
    std::vector<moe::Selection> out;
    for (const double floor : options_.floors) {
      const auto share = [&](const moe::Selection& x) {
        return scores.executed_share(static_cast<int64_t>(s), x);
      };
      const double dear = share({options_.rule, range.dearest, floor}),
                   cheap = share({options_.rule, range.cheapest, floor});
      if (floor > 0) out.push_back({options_.rule, range.dearest, floor});
      for (int64_t i = 1; i <= options_.steps; ++i) {
        const double part = static_cast<double>(i) / static_cast<double>(options_.steps);
        const double wanted = dear * std::pow(std::max(cheap, 1e-6) / std::max(dear, 1e-6), part);
        const double value = i == options_.steps
                                 ? range.cheapest
                                 : value_for_share({options_.rule, 0, floor}, range, wanted, share);
        const moe::Selection selection{options_.rule, value, floor};
        if (std::find(out.begin(), out.end(), selection) == out.end()) out.push_back(selection);
      }
    }
    return out;
  }

  /// Experts and router of one site as a share of the dense model's FLOPs.
  double site_cost(const Cost& cost, size_t s) const {
    const auto& name = sites_[s].id.name;
    double flops = 0;
    for (const auto& part : cost.parts) {
      if (part.name == name + " experts" || part.name == name + " router") flops += part.flops;
    }
    return flops / cost.dense_flops_per_token;
  }

  double damage(const Predictions& reference, const Predictions& measured) const {
    switch (validation_.task()) {
      case data::Task::regression:
        return (reference.logits - measured.logits).square().mean().item<double>();
      case data::Task::language_modeling:  // of each window's loss, in either direction
        return ((reference.losses - measured.losses).abs().sum() / reference.counts.sum()).item<double>();
      case data::Task::classification:
      case data::Task::multiple_choice:
        break;
    }
    const auto log_p = reference.logits.to(torch::kFloat64).log_softmax(1),
               log_q = measured.logits.to(torch::kFloat64).log_softmax(1);
    // A question with fewer answers than others has no term for what it lacks.
    const auto terms = (log_p.exp() * (log_p - log_q)).masked_fill(reference.logits == -INFINITY, 0);
    return terms.sum(1).mean().item<double>();
  }

  Calibration finished(Calibration c) const {
    c.evaluations = static_cast<int64_t>(tried_.size());
    return c;
  }

  models::Model& model_;
  const data::Dataset& validation_;
  const CalibrationOptions& options_;
  std::vector<ConvertedSite> sites_;
  double fixed_cost_ = 0;  // everything besides the converted sites, as a share of the dense model
  double all_drop_ = 0;    // of for_max_drop: the all-experts model's, where it is negative
  std::optional<Predictions> all_experts_;
  std::list<Calibration> tried_;
};

}  // namespace

data::Dataset calibration_sample(const data::Dataset& validation, const CalibrationOptions& options) {
  Rng rng(derive_seed(options.seed, "calibration sample"));
  std::vector<std::vector<int64_t>> groups;  // the answers of a question stay together
  for (int64_t row = 0; row < validation.size(); ++row) {
    if (row == 0 || validation.group(row) != validation.group(row - 1)) groups.emplace_back();
    groups.back().push_back(row);
  }
  auto order = rng.permutation(static_cast<int64_t>(groups.size()));
  if (static_cast<int64_t>(order.size()) > options.sample_sentences) {
    order.resize(static_cast<size_t>(options.sample_sentences));
  }
  std::vector<int64_t> rows;
  int64_t counted = 0;
  for (const int64_t group : order) {
    const auto& chosen = groups[static_cast<size_t>(group)];
    rows.insert(rows.end(), chosen.begin(), chosen.end());
    counted += validation.counted(chosen);
    if (validation.task() == data::Task::language_modeling && counted >= options.sample_tokens) break;
  }
  return validation.pick(rows);
}

Calibration calibrate(models::Model& model, const data::Dataset& validation,
                      const CalibrationOptions& options) {
  D2D_CHECK_USAGE(options.budget.has_value() != options.max_drop.has_value(),
                  "[calibration]: needs a budget or a max_drop, one of them");
  D2D_CHECK(!options.floors.empty(), "[calibration] 'floors': is empty, must hold at least one candidate");
  D2D_CHECK(
      !validation.empty(),
      "[calibration] 'validation': has no examples. Hint: per-site values are chosen on validation data");
  return Calibrator(model, validation, options).run();
}

}  // namespace d2dmoe::eval
