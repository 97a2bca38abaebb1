#pragma once

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

/// Collects pairs; who goes first alternates.
class PairClock {
 public:
  /// @param dense, routed  each does the work once and returns the milliseconds that it took
  template <class Dense, class Routed>
  void measure(Dense dense, Routed routed) {
    const bool dense_first = dense_ms_.size() % 2 == 0;
    const double first = dense_first ? dense() : routed();
    const double second = dense_first ? routed() : dense();
    dense_ms_.push_back(dense_first ? first : second);
    routed_ms_.push_back(dense_first ? second : first);
  }
  int64_t pairs() const { return static_cast<int64_t>(dense_ms_.size()); }
  /// At least one pair must have been measured.
  PairedTimes times() const;

 private:
  std::vector<double> dense_ms_, routed_ms_;
};

}  // namespace d2dmoe::eval
