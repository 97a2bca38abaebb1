#pragma once

#include <string>
#include <vector>

#include "d2dmoe/report/json_access.h"

/// What the points of a sweep say, for its pictures and its tables.
namespace d2dmoe::report {

/// The metric of all points of a sweep. @param points  array; without any: accuracy
std::string metric_of(const Json& points);
/// Batch sizes that were timed, ascending.
std::vector<double> timed_batches(const Json& points);
/// Time over that of the dense model; NaN when the point was not timed at this batch size.
double time_ratio(const Json& point, double batch);
/// "92.15 %"; a dash for what is no finite number.
std::string score_text(double score, const std::string& metric);
/// "92.15 % [91.0, 93.3]": the score with its interval, where it has one.
std::string quality_text(const Json& point, const std::string& metric);
/// "yes", "no", or a dash where nothing was resampled.
std::string within_noise_text(const Json& point);

}  // namespace d2dmoe::report
