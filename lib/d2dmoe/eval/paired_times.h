#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace d2dmoe::eval {

/// Wall-clock times of the same work by the dense and by the routed model, measured in pairs.
struct PairedTimes {
  double dense_ms = 0, routed_ms = 0;  ///< medians
  double ratio = 1;                    ///< routed_ms / dense_ms
  double ratio_of_pairs = 1;           ///< median of routed / dense of a pair, one run right after the other
  double p10 = 1, p90 = 1;             ///< of the ratios of pairs
};

/// Median, first and last decile of the runs of one thing.
struct Spread {
  double median = 0, p10 = 0, p90 = 0;
};

/// Collects the times of candidates that take turns, so that whatever disturbs the machine disturbs all of
/// them alike; who goes first rotates.
class TurnClock {
 public:
  explicit TurnClock(size_t candidates) : ms_(candidates) {}
  /// One turn. @param run  run(c) does the work of candidate c once and returns the milliseconds that it took
  template <class Run>
  void measure(Run run) {
    const size_t first = ms_.front().size() % ms_.size();
    for (size_t i = 0; i < ms_.size(); ++i) {
      const size_t candidate = (first + i) % ms_.size();
      ms_[candidate].push_back(run(candidate));
    }
  }
  int64_t turns() const { return static_cast<int64_t>(ms_.front().size()); }
  /// At least one turn must have been measured, here and below. @return  in milliseconds
  Spread spread(size_t candidate) const;
  /// Of a candidate's time over another's in the same turn.
  Spread ratio(size_t candidate, size_t baseline) const;

 private:
  std::vector<std::vector<double>> ms_;
};

/// Collects pairs; who goes first alternates.
class PairClock {
 public:
  /// @param dense, routed  each does the work once and returns the milliseconds that it took
  template <class Dense, class Routed>
  void measure(Dense dense, Routed routed) {
    clock_.measure([&](size_t candidate) { return candidate == 0 ? dense() : routed(); });
  }
  int64_t pairs() const { return clock_.turns(); }
  /// At least one pair must have been measured.
  PairedTimes times() const;

 private:
  TurnClock clock_{2};
};

}  // namespace d2dmoe::eval
