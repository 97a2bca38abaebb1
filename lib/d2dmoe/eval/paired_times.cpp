#include "d2dmoe/eval/paired_times.h"

#include "d2dmoe/eval/quantile.h"

namespace d2dmoe::eval {

PairedTimes PairClock::times() const {
  std::vector<double> ratios;
  for (size_t i = 0; i < dense_ms_.size(); ++i) ratios.push_back(routed_ms_[i] / dense_ms_[i]);
  PairedTimes t;
  t.dense_ms = quantile(dense_ms_, 0.5);
  t.routed_ms = quantile(routed_ms_, 0.5);
  t.ratio = t.routed_ms / t.dense_ms;
  t.ratio_of_pairs = quantile(ratios, 0.5);
  t.p10 = quantile(ratios, 0.1);
  t.p90 = quantile(ratios, 0.9);
  return t;
}

}  // namespace d2dmoe::eval
