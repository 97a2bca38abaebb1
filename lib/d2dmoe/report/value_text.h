#pragma once

#include <cmath>
#include <string>

#include "d2dmoe/core/format.h"

/// Numbers as people read them; what is no finite number is a dash.
namespace d2dmoe::report {

/// "11.5 %". @param share  0.115
inline std::string percent(double share, int digits) {
  return std::isfinite(share) ? format("{:.{}f} %", 100 * share, digits) : "–";
}

/// Four significant digits.
inline std::string plain(double value) {
  return std::isfinite(value) ? format("{:.4g}", value) : "–";
}

}  // namespace d2dmoe::report
