#pragma once

#include <algorithm>
#include <cstddef>
#include <vector>

namespace d2dmoe::eval {

/// Quantile by linear interpolation between the sorted values, as numpy's default.
/// @param values  not empty
/// @param q       in [0, 1]
inline double quantile(std::vector<double> values, double q) {
  std::sort(values.begin(), values.end());
  const double place = q * static_cast<double>(values.size() - 1);
  const auto low = static_cast<size_t>(place);
  const auto high = std::min(low + 1, values.size() - 1);
  return values[low] + (place - static_cast<double>(low)) * (values[high] - values[low]);
}

}  // namespace d2dmoe::eval
