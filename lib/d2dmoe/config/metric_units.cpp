#include "d2dmoe/config/metric_units.h"

#include "d2dmoe/core/format.h"

namespace d2dmoe::config {

bool metric_is_share(const std::string& metric) {
  return metric != "loss" && metric != "perplexity" && metric != "bits_per_byte";
}

std::string metric_text(const std::string& metric, double value, bool unit) {
  if (metric == "perplexity") return format("{:.3f}", value);
  if (!metric_is_share(metric)) return format("{:.4f}", value);
  return format("{:.2f}{}", 100 * value, unit ? " %" : "");
}

double points_worse(const std::string& metric, double reference, double value) {
  if (metric == "perplexity") return 100 * (value / reference - 1);
  return 100 * (metric_is_share(metric) ? reference - value : value - reference);
}

}  // namespace d2dmoe::config
