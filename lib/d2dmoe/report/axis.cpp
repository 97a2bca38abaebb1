#include "d2dmoe/report/axis.h"

#include <algorithm>
#include <cmath>
#include <cstdint>

#include "d2dmoe/core/format.h"

namespace d2dmoe::report {
namespace {

/// 1, 2, 2.5 or 5 times a power of ten, at least `raw`.
double nice_step(double raw) {
  const double power = std::pow(10, std::floor(std::log10(raw)));
  for (const double factor : {1.0, 2.0, 2.5, 5.0}) {
    if (factor * power >= raw * (1 - 1e-9)) return factor * power;
  }
  return 10 * power;
}

/// Digits after the point that tell multiples of `step` apart.
int digits_for(double step) {
  for (int digits = 0; digits < 9; ++digits) {
    const double scaled = step * std::pow(10, digits);
    if (std::abs(scaled - std::round(scaled)) < 1e-6 * scaled) return digits;
  }
  return 9;
}

std::string label(double value, Unit unit, double step) {
  const double factor = unit == Unit::percent ? 100 : 1;
  if (unit == Unit::plain && (std::abs(value) >= 1e6 || (step < 1e-4 && step > 0)))
    return format("{:.3g}", value);
  std::string text = format("{:.{}f}", value * factor, digits_for(step * factor));
  return text.find_first_not_of("-0.") == text.npos ? "0" : text;
}

}  // namespace

Axis Axis::linear(double low, double high, Unit unit, int ticks, double least_span) {
  Axis axis;
  if (!std::isfinite(low) || !std::isfinite(high) || low > high) low = high = 0;
  least_span = std::max({least_span, 1e-9, 1e-9 * std::abs(high)});
  if (high - low < least_span) {
    const double middle = (low + high) / 2;
    low = middle - least_span / 2;
    high = middle + least_span / 2;
  }
  const double step = nice_step((high - low) / std::max(1, ticks));
  axis.low_ = low;
  axis.high_ = high;
  const auto first = static_cast<int64_t>(std::ceil(low / step - 1e-6));
  const auto last = static_cast<int64_t>(std::floor(high / step + 1e-6));
  for (int64_t i = first; i <= last && i - first < 100; ++i) {
    const double value = static_cast<double>(i) * step;
    axis.ticks_.push_back({value, label(value, unit, step)});
  }
  return axis;
}

Axis Axis::logarithmic(double low, double high, Unit unit) {
  if (!(low > 0 && high >= low && std::isfinite(high))) return linear(low, high, unit, 6, 0);
  if (high / low < 1.5) {
    low /= 1.25;
    high *= 1.25;
  }
  Axis axis;
  axis.log_ = true;
  axis.low_ = low;
  axis.high_ = high;
  // 1, 2, 5 per decade; on more than four decades only the powers.
  const bool dense = std::log10(high / low) <= 4;
  for (int power = static_cast<int>(std::floor(std::log10(low))); std::pow(10, power) <= high * 1.001;
       ++power) {
    for (const int digit : {1, 2, 5}) {
      const double value = digit * std::pow(10, power);
      if ((digit > 1 && !dense) || value < low * 0.999 || value > high * 1.001) continue;
      axis.ticks_.push_back({value, label(value, unit, value)});
    }
  }
  return axis;
}

double Axis::share(double value) const {
  if (log_) return std::log(std::max(value, low_ * 1e-3) / low_) / std::log(high_ / low_);
  return (value - low_) / (high_ - low_);
}

}  // namespace d2dmoe::report
