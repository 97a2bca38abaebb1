#include "d2dmoe/cluster/exchange.h"

#include <algorithm>
#include <cmath>
#include <limits>

namespace d2dmoe::cluster {
Exchange::Exchange(const float* gram, int64_t items, int64_t clusters, std::vector<int32_t> assignment)
    : gram_(gram),
      items_(items),
      clusters_(clusters),
      assignment_(std::move(assignment)),
      sums_(static_cast<size_t>(clusters * items)),
      own_(static_cast<size_t>(items)),
      diag_(static_cast<size_t>(items)),
      gains_(static_cast<size_t>(items)),
      reach_(static_cast<size_t>(clusters)) {
  double size = 0;
  for (int64_t i = 0; i < items; ++i) {
    diag_[i] = gram[i * items + i];
    size += std::abs(diag_[i]);
  }
  least_gain_ = kLeastGain * static_cast<float>(size / static_cast<double>(std::max<int64_t>(1, items)));
  refresh();
}

void Exchange::refresh() {
  std::fill(sums_.begin(), sums_.end(), 0.0f);
  for (int64_t j = 0; j < items_; ++j) {
    const float* row = gram_ + j * items_;
    float* sums = sums_.data() + assignment_[j] * items_;
    for (int64_t i = 0; i < items_; ++i) sums[i] += row[i];
  }
  for (int64_t i = 0; i < items_; ++i) own_[i] = diag_[i] - sums_[assignment_[i] * items_ + i];
}

// The item whose swap with i gains most, or -1 when none gains.
int64_t Exchange::best_partner(int64_t i) {
  const int32_t from = assignment_[i];
  for (int64_t c = 0; c < clusters_; ++c) reach_[c] = sums_[c * items_ + i] + own_[i];
  reach_[from] = -std::numeric_limits<float>::infinity();
  const float* row = gram_ + i * items_;
  const float* into_from = sums_.data() + from * items_;
  float best = least_gain_;
  for (int64_t j = 0; j < items_; ++j) {
    gains_[j] = into_from[j] + own_[j] - 2 * row[j] + reach_[assignment_[j]];
    best = gains_[j] > best ? gains_[j] : best;
  }
  if (!(best > least_gain_)) return -1;
  return std::find(gains_.begin(), gains_.end(), best) - gains_.begin();
}

void Exchange::swap(int64_t i, int64_t j) {
  const int32_t a = assignment_[i], b = assignment_[j];
  const float *gi = gram_ + i * items_, *gj = gram_ + j * items_;
  float *in_a = sums_.data() + a * items_, *in_b = sums_.data() + b * items_;
  for (int64_t k = 0; k < items_; ++k) {
    const float change = gj[k] - gi[k];
    in_a[k] += change;
    in_b[k] -= change;
  }
  assignment_[i] = b;
  assignment_[j] = a;
  for (int64_t k = 0; k < items_; ++k)
    if (assignment_[k] == a || assignment_[k] == b) own_[k] = diag_[k] - sums_[assignment_[k] * items_ + k];
}

int64_t Exchange::sweep() {
  refresh();  // the sums that swaps updated carry rounding
  int64_t swaps = 0;
  for (int64_t i = 0; i < items_; ++i) {
    const int64_t partner = best_partner(i);
    if (partner < 0) continue;
    swap(i, partner);
    ++swaps;
  }
  return swaps;
}

double Exchange::within() const {
  double total = 0;
  for (int64_t i = 0; i < items_; ++i) {
    const float* row = gram_ + i * items_;
    for (int64_t j = 0; j < items_; ++j)
      if (assignment_[j] == assignment_[i]) total += row[j];
  }
  return total;
}

}  // namespace d2dmoe::cluster
