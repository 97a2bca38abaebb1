#include "d2dmoe/train/alpha_schedule.h"

#include <algorithm>
#include <cmath>

#include "d2dmoe/config/metric_units.h"
#include "d2dmoe/core/error.h"

namespace d2dmoe::train {
namespace {

// Steering by zeros: the density answers a change of alpha after some tens of steps, roughly as its inverse
// power; these gains keep that loop well damped.
constexpr double kProportional = 2.0, kIntegral = 0.3, kLargestMove = 0.7;
constexpr int64_t kControls = 100;
constexpr double kPathShare = 0.5;
// Steering by the metric.
constexpr double kRaise = 2.0, kBackOff = 0.25, kRaiseUntil = 0.7, kRamp = 0.1;
// How far alpha may move from the configured value, which is only a first guess under `auto`.
constexpr double kLargestFactor = 1e3;
// A model this close to the target has reached it.
constexpr double kTargetSlack = 0.005;

double log_density(double zeros) {
  return std::log(std::max(1 - zeros, 1e-6));
}

}  // namespace

AlphaSchedule::AlphaSchedule(const config::PenaltyOptions& options, int64_t total_steps, std::string metric)
    : options_(options),
      total_(std::max<int64_t>(1, total_steps)),
      period_(std::max<int64_t>(1, total_steps / kControls)),
      metric_(std::move(metric)),
      automatic_(options.schedule == "auto"),
      alpha_(options.alpha / 10),
      ceiling_(options.alpha / 4) {
  // What a user writes is checked in config/validate.cpp.
  D2D_CHECK(automatic_ == (options.target_sparsity || options.max_metric_drop) &&
                (!automatic_ || options.alpha > 0),
            "[train] 'penalty.schedule': '{}' with alpha {} does not fit its goals", options.schedule,
            options.alpha);
}

double AlphaSchedule::at(int64_t step) const {
  const double done = static_cast<double>(step) / static_cast<double>(total_);
  if (options_.schedule == "linear") return options_.alpha * done;
  if (options_.schedule == "warmup") return options_.alpha * std::min(1.0, 2 * done);
  if (!automatic_) return options_.alpha;
  if (!options_.target_sparsity) return ceiling_ * std::min(1.0, done / kRamp);
  return alpha_;
}

bool AlphaSchedule::wants_zeros(int64_t step) const {
  return automatic_ && options_.target_sparsity && step % period_ == 0;
}

void AlphaSchedule::on_zeros(int64_t step, double zeros) {
  if (!automatic_ || !options_.target_sparsity) return;
  const double density = log_density(zeros), target = log_density(*options_.target_sparsity);
  if (!first_density_) first_density_ = density;
  const double path = std::min(1.0, static_cast<double>(step) / (kPathShare * static_cast<double>(total_)));
  const double error = density - (*first_density_ + (target - *first_density_) * path);
  const double trend = last_error_ ? error - *last_error_ : 0;
  last_error_ = error;
  alpha_ = clamp(
      alpha_ * std::exp(std::clamp(kProportional * trend + kIntegral * error, -kLargestMove, kLargestMove)));
}

void AlphaSchedule::on_metric(int64_t step, double metric) {
  if (!wants_metric()) return;
  if (!within_bound(metric)) {
    ceiling_ = clamp(ceiling_ * kBackOff);
  } else if (static_cast<double>(step) < kRaiseUntil * static_cast<double>(total_)) {
    ceiling_ = clamp(ceiling_ * kRaise);
  }
}

std::pair<double, double> AlphaSchedule::rank(int64_t step, double zeros, double metric) const {
  const double good = config::metric_is_share(metric_) ? metric : -metric;
  if (!automatic_) return {settled(step) ? 1.0 : 0.0, good};
  const double reached =
      options_.target_sparsity ? std::min(zeros, *options_.target_sparsity - kTargetSlack) : zeros;
  if (options_.max_metric_drop && !within_bound(metric)) return {-1.0, good};
  return {reached, good};
}

bool AlphaSchedule::settled(int64_t step) const {
  if (options_.name == "none" || options_.schedule == "constant") return true;
  if (options_.schedule == "linear") return step >= total_;
  return 2 * step >= total_;
}

bool AlphaSchedule::within_bound(double metric) const {
  return config::points_worse(metric_, reference_, metric) <= *options_.max_metric_drop;
}

double AlphaSchedule::clamp(double alpha) const {
  return std::clamp(alpha, options_.alpha / kLargestFactor, options_.alpha * kLargestFactor);
}

nlohmann::ordered_json AlphaSchedule::state() const {
  nlohmann::ordered_json state = {{"alpha", alpha_}, {"ceiling", ceiling_}, {"reference", reference_}};
  if (first_density_) state["first_density"] = *first_density_;
  if (last_error_) state["last_error"] = *last_error_;
  return state;
}

void AlphaSchedule::load_state(const nlohmann::ordered_json& state) {
  alpha_ = state.at("alpha");
  ceiling_ = state.at("ceiling");
  reference_ = state.at("reference");
  if (state.contains("first_density")) first_density_ = state["first_density"].get<double>();
  if (state.contains("last_error")) last_error_ = state["last_error"].get<double>();
}

}  // namespace d2dmoe::train
