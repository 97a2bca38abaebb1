#pragma once

#include <string>
#include <vector>

namespace d2dmoe::report {

/// How numbers of an axis are shown.
enum class Unit {
  plain,    ///< 0.5, 1500
  percent,  ///< 0.5 is shown as "50": the axis title names the unit
};

/// A tick: where it stands and what is written there.
struct Tick {
  double value = 0;
  std::string label;
};

/// The range of an axis and its ticks.
class Axis {
 public:
  /// @param low, high  the values to be shown; equal or not finite ones are widened to `least_span`
  /// @param ticks      about how many ticks
  /// @param least_span the axis is at least this long, so that noise is not blown up to fill the picture
  static Axis linear(double low, double high, Unit unit, int ticks, double least_span);
  /// A logarithmic axis; low and high must be above 0, else it falls back to a linear one.
  static Axis logarithmic(double low, double high, Unit unit);

  /// Position of a value: 0 at the low end, 1 at the high end.
  double share(double value) const;
  bool is_log() const { return log_; }
  double low() const { return low_; }
  double high() const { return high_; }
  const std::vector<Tick>& ticks() const { return ticks_; }

 private:
  double low_ = 0, high_ = 1;
  bool log_ = false;
  std::vector<Tick> ticks_;
};

}  // namespace d2dmoe::report
