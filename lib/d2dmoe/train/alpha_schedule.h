#pragma once

#include <nlohmann/json.hpp>
#include <optional>
#include <utility>

#include "d2dmoe/config/options.h"

namespace d2dmoe::train {

/// The weight alpha(t) of the sparsity penalty, and which validations may become the kept model.
/// docs/method.md §2.
///
/// `constant`, `linear` and `warmup` are functions of the step. `auto` steers:
/// - `target_sparsity`: at a hundred points of the run the share of zeros is compared with a path that leads,
/// evenly in
///   log(1 - zeros), from the start's share to the target over the first half. alpha is multiplied by the
///   exponential of a proportional-integral term of that error, so it rises while the model is denser than
///   the path, falls when it is sparser, and holds the target in the second half.
/// - `max_metric_drop`: at each validation a ceiling on alpha is doubled while the metric is within the
/// allowed drop of
///   the start model's (until 70 % of the run), and quartered when it is not. Alone it is alpha itself; with
///   a target it bounds the steered alpha.
class AlphaSchedule {
 public:
  /// @throws UsageError  `auto` without a goal, or a goal without `auto`
  AlphaSchedule(const config::PenaltyOptions& options, int64_t total_steps, std::string metric);

  /// alpha for the step after `step` finished ones.
  double at(int64_t step) const;

  /// Whether the share of zeros is wanted at this step (on_zeros).
  bool wants_zeros(int64_t step) const;
  void on_zeros(int64_t step, double zeros);

  /// Whether a reference, the start model's validation metric, is needed.
  bool wants_metric() const { return automatic_ && options_.max_metric_drop.has_value(); }
  void set_reference(double metric) { reference_ = metric; }
  void on_metric(int64_t step, double metric);

  /// How good a validation is as the model to keep: compare lexicographically, higher is better. The fixed
  /// schedules prefer validations at full alpha, then the metric; a target prefers more zeros up to the
  /// target, then the metric; a bound on the metric prefers validations within it, then more zeros.
  std::pair<double, double> rank(int64_t step, double zeros, double metric) const;
  /// Whether alpha has reached its full value (validations before that are no reason to stop early).
  bool settled(int64_t step) const;

  nlohmann::ordered_json state() const;
  void load_state(const nlohmann::ordered_json& state);

 private:
  bool within_bound(double metric) const;  // options_.max_metric_drop of the reference
  double clamp(double alpha) const;

  config::PenaltyOptions options_;
  int64_t total_, period_;
  std::string metric_;
  bool automatic_;
  double alpha_, ceiling_;
  double reference_ = 0;
  std::optional<double> first_density_, last_error_;  // logarithms
};

}  // namespace d2dmoe::train
