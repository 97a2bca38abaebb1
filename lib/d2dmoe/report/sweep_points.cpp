#include "d2dmoe/report/sweep_points.h"

#include <algorithm>
#include <cmath>

#include "d2dmoe/config/metric_units.h"
#include "d2dmoe/core/format.h"

namespace d2dmoe::report {

std::string metric_of(const Json& points) {
  for (const Json& point : points) return text_of(point, "metric", "accuracy");
  return "accuracy";
}

std::vector<double> timed_batches(const Json& points) {
  std::vector<double> batches;
  for (const Json& point : points) {
    for (const Json& entry : member(point, "time")) {
      const double batch = number_of(entry, "batch");
      if (std::isfinite(batch) && std::isfinite(number_of(entry, "ratio"))) batches.push_back(batch);
    }
  }
  std::sort(batches.begin(), batches.end());
  batches.erase(std::unique(batches.begin(), batches.end()), batches.end());
  return batches;
}

double time_ratio(const Json& point, double batch) {
  for (const Json& entry : member(point, "time")) {
    if (number_of(entry, "batch") == batch) return number_of(entry, "ratio");
  }
  return NAN;
}

std::string score_text(double score, const std::string& metric) {
  if (!std::isfinite(score)) return "–";
  return config::metric_text(metric, score);
}

std::string quality_text(const Json& point, const std::string& metric) {
  std::string text = score_text(number_of(point, "score"), metric);
  if (const auto interval = interval_of(point)) {
    const bool share = config::metric_is_share(metric);
    const double factor = share ? 100 : 1;
    const int digits = share ? 1 : 3;
    text +=
        format(" [{:.{}f}, {:.{}f}]", interval->first * factor, digits, interval->second * factor, digits);
  }
  return text;
}

std::string within_noise_text(const Json& point) {
  const Json& noise = member(point, "within_noise");
  return !noise.is_boolean() ? "–" : noise.get<bool>() ? "yes" : "no";
}

}  // namespace d2dmoe::report
