#pragma once

#include <string>

/// How the metrics of names.h are read: shares of one, where more is better, or losses, where less is.
namespace d2dmoe::config {

/// Whether a metric is a share, shown in percent; the others are losses.
bool metric_is_share(const std::string& metric);

/// "92.15 %", "8.214": a value for people.
/// @param unit  false: without the percent sign
std::string metric_text(const std::string& metric, double value, bool unit = true);

/// How much worse a value is than another, in points: 0.01 of a share, of a loss or of bits per byte, 1 % of
/// a perplexity. Negative = better.
double points_worse(const std::string& metric, double reference, double value);

}  // namespace d2dmoe::config
