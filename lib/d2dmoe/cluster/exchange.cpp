#include "d2dmoe/cluster/exchange.h"

#include <ATen/Parallel.h>

#include <algorithm>
#include <limits>

namespace d2dmoe::cluster {
namespace {

// Items that look for partners against the same state: enough to feed the threads, few enough that most of
// the found swaps still gain when their turn comes.
constexpr int64_t kBlock = 64;
// Swaps that gain less than this share of the mean squared norm are rounding: they could go round in circles.
constexpr float kLeastGain = 1e-5f;

}  // namespace

Exchange::Exchange(const float* gram, int64_t items, int64_t clusters, std::vector<int32_t> assignment)
    : gram_(gram),
      items_(items),
      clusters_(clusters),
      assignment_(std::move(assignment)),
      sums_(static_cast<size_t>(clusters * items)),
      own_(static_cast<size_t>(items)),
      diag_(static_cast<size_t>(items)) {
  double trace = 0;
  for (int64_t i = 0; i < items; ++i) {
    diag_[i] = gram[i * items + i];
    trace += diag_[i];
  }
  least_gain_ = kLeastGain * static_cast<float>(trace / static_cast<double>(std::max<int64_t>(1, items)));
  refresh();
}

void Exchange::refresh() {
  std::vector<std::vector<int32_t>> members(static_cast<size_t>(clusters_));
  for (int64_t i = 0; i < items_; ++i) members[assignment_[i]].push_back(static_cast<int32_t>(i));
  at::parallel_for(0, clusters_, 1, [&](int64_t begin, int64_t end) {
    for (int64_t c = begin; c < end; ++c) {
      float* sums = sums_.data() + c * items_;
      std::fill_n(sums, items_, 0.0f);
      for (const int64_t j : members[c])
        for (int64_t i = 0; i < items_; ++i) sums[i] += gram_[j * items_ + i];
    }
  });
  for (int64_t i = 0; i < items_; ++i) own_[i] = diag_[i] - sums_[assignment_[i] * items_ + i];
}

Exchange::Candidate Exchange::best_partner(int64_t i) const {
  thread_local std::vector<float> to_cluster, gains;
  to_cluster.resize(static_cast<size_t>(clusters_));
  gains.resize(static_cast<size_t>(items_));
  const int32_t from = assignment_[i];
  for (int64_t c = 0; c < clusters_; ++c) to_cluster[c] = sums_[c * items_ + i] + own_[i];
  to_cluster[from] = -std::numeric_limits<float>::infinity();
  const float* row = gram_ + i * items_;
  const float* into_from = sums_.data() + from * items_;
  const float* reach = to_cluster.data();
  const int32_t* cluster = assignment_.data();
  float* gain = gains.data();
  float best = least_gain_;
  for (int64_t j = 0; j < items_; ++j) {
    gain[j] = into_from[j] + own_[j] - 2 * row[j] + reach[cluster[j]];
    best = gain[j] > best ? gain[j] : best;
  }
  if (!(best > least_gain_)) return {};
  const auto where = std::find(gains.begin(), gains.end(), best) - gains.begin();
  return {static_cast<int32_t>(where), best};
}

float Exchange::gain(int64_t i, int64_t j) const {
  const int64_t a = assignment_[i], b = assignment_[j];
  if (a == b) return 0;
  return sums_[a * items_ + j] + own_[j] - 2 * gram_[i * items_ + j] + sums_[b * items_ + i] + own_[i];
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
  refresh();
  int64_t swaps = 0;
  std::vector<Candidate> found(static_cast<size_t>(kBlock));
  for (int64_t first = 0; first < items_; first += kBlock) {
    const int64_t count = std::min(kBlock, items_ - first);
    at::parallel_for(0, count, 8, [&](int64_t begin, int64_t end) {
      for (int64_t k = begin; k < end; ++k) found[k] = best_partner(first + k);
    });
    for (int64_t k = 0; k < count; ++k) {
      if (found[k].partner < 0 || !(gain(first + k, found[k].partner) > least_gain_)) continue;
      swap(first + k, found[k].partner);
      ++swaps;
    }
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
