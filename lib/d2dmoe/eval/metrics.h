#pragma once

#include <string>

#include "d2dmoe/eval/evaluate.h"

namespace d2dmoe::eval {

/// @param name  of config::kMetrics
/// @return      in natural units: accuracy 0 … 1
double metric(const std::string& name, const Predictions& predictions);
bool higher_is_better(const std::string& name);

struct Interval {
  double low = 0, high = 0;
};
/// Percentile bootstrap over examples, 95 %. Deterministic for a seed.
Interval bootstrap(const std::string& name, const Predictions& predictions, int64_t resamples, uint64_t seed);
/// The same for metric(a) - metric(b) on the same examples (paired).
Interval bootstrap_difference(const std::string& name, const Predictions& a, const Predictions& b, int64_t resamples,
                              uint64_t seed);

}  // namespace d2dmoe::eval
