#include "d2dmoe/eval/paired_times.h"

#include "d2dmoe/eval/quantile.h"

namespace d2dmoe::eval {
namespace {

Spread spread_of(const std::vector<double>& values) {
  return {quantile(values, 0.5), quantile(values, 0.1), quantile(values, 0.9)};
}

}  // namespace

Spread TurnClock::spread(size_t candidate) const {
  return spread_of(ms_[candidate]);
}

Spread TurnClock::ratio(size_t candidate, size_t baseline) const {
  std::vector<double> ratios;
  for (size_t i = 0; i < ms_[candidate].size(); ++i) ratios.push_back(ms_[candidate][i] / ms_[baseline][i]);
  return spread_of(ratios);
}

PairedTimes PairClock::times() const {
  const Spread ratios = clock_.ratio(1, 0);
  PairedTimes t;
  t.dense_ms = clock_.spread(0).median;
  t.routed_ms = clock_.spread(1).median;
  t.ratio = t.routed_ms / t.dense_ms;
  t.ratio_of_pairs = ratios.median;
  t.p10 = ratios.p10;
  t.p90 = ratios.p90;
  return t;
}

}  // namespace d2dmoe::eval
