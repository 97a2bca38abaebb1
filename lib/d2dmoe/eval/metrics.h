#pragma once

#include <string>
#include <vector>

#include "d2dmoe/eval/evaluate.h"

namespace d2dmoe::eval {

/// The metrics that fit a task, in the order of config::kTaskMetrics.
const std::vector<std::string>& metrics_of(data::Task task);
/// "auto" as the task's default metric, any other name as it is.
/// @throws UsageError  the metric does not fit the task
std::string resolve_metric(const std::string& name, data::Task task);

/// @param name  of config::kMetrics, not "auto"
/// @return      in natural units: accuracy 0 … 1. mcc and pearson are 0 where they are undefined (a constant
/// side)
/// @throws UsageError  no such metric (names the nearest), or it does not fit the task of the predictions
double metric(const std::string& name, const Predictions& predictions);

struct Interval {
  double low = 0, high = 0;
  bool contains(double value) const { return low <= value && value <= high; }
};
/// Percentile bootstrap over examples, 95 %. Deterministic for a seed.
/// @param resamples  0 = no resampling: low = high = the metric
Interval bootstrap(const std::string& name, const Predictions& predictions, int64_t resamples, uint64_t seed);
/// The same for metric(a) - metric(b) on the same examples (paired).
/// @throws Error  the labels differ
Interval bootstrap_difference(const std::string& name, const Predictions& a, const Predictions& b,
                              int64_t resamples, uint64_t seed);
/// How many points worse (config::points_worse) `other` is than `reference` at most, with a confidence in
/// (0, 1): that quantile of a paired percentile bootstrap over examples. Deterministic for a seed.
/// @throws Error  the labels differ, or an argument is out of range
double points_worse_at_most(const std::string& name, const Predictions& reference, const Predictions& other,
                            double confidence, int64_t resamples, uint64_t seed);

}  // namespace d2dmoe::eval
