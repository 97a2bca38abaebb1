#include "d2dmoe/cluster/vector_exchange.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>

#include <algorithm>
#include <limits>
#include <numeric>

#include "d2dmoe/cluster/exchange.h"

namespace d2dmoe::cluster {
namespace {

// Swaps of one item that a round tries: what it would gain without the pair's own term is known, and that
// term decides among the best few.
constexpr int64_t kProposals = 8;
constexpr int64_t kTileRows = 512;  // of the product, per thread

double squared_norm(const float* x, int64_t n) {
  double sum = 0;
#pragma omp simd reduction(+ : sum)
  for (int64_t k = 0; k < n; ++k) sum += static_cast<double>(x[k]) * x[k];
  return sum;
}

}  // namespace

VectorExchange::VectorExchange(torch::Tensor vectors, int64_t clusters, std::vector<int32_t> assignment)
    : vectors_(std::move(vectors)),
      data_(vectors_.const_data_ptr<float>()),
      items_(vectors_.size(0)),
      clusters_(clusters),
      dimension_(vectors_.size(1)),
      assignment_(std::move(assignment)),
      members_(static_cast<size_t>(items_)),
      sums_(at::zeros({clusters, dimension_}, at::kFloat)),
      reach_(at::zeros({items_, clusters}, at::kFloat)),
      norms_(static_cast<size_t>(items_)),
      offers_(static_cast<size_t>(clusters * clusters)),
      proposals_(static_cast<size_t>(items_ * kProposals)),
      changed_(static_cast<size_t>(clusters), 1) {
  at::parallel_for(0, items_, kTileRows, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) norms_[i] = static_cast<float>(squared_norm(vector(i), dimension_));
  });
  least_gain_ = kLeastGain * static_cast<float>(trace() / static_cast<double>(std::max<int64_t>(1, items_)));
}

void VectorExchange::group() {
  std::vector<int64_t> next(static_cast<size_t>(clusters_));
  for (int64_t c = 0; c < clusters_; ++c) next[c] = c * (items_ / clusters_);
  for (int64_t i = 0; i < items_; ++i) members_[next[assignment_[i]]++] = static_cast<int32_t>(i);
}

// Sums and reach of the clusters that changed.
void VectorExchange::refresh() {
  group();
  std::vector<int64_t> stale;
  for (int64_t c = 0; c < clusters_; ++c)
    if (changed_[c] != 0) stale.push_back(c);
  std::fill(changed_.begin(), changed_.end(), uint8_t{0});
  const auto count = static_cast<int64_t>(stale.size()), size = items_ / clusters_;
  if (count == 0) return;
  auto* sums = sums_.mutable_data_ptr<float>();
  at::parallel_for(0, count, 1, [&](int64_t begin, int64_t end) {
    for (int64_t n = begin; n < end; ++n) {
      float* sum = sums + stale[n] * dimension_;
      std::fill(sum, sum + dimension_, 0.0f);
      for (int64_t m = 0; m < size; ++m) {
        const float* x = vector(members_[stale[n] * size + m]);
        for (int64_t k = 0; k < dimension_; ++k) sum[k] += x[k];
      }
    }
  });
  const torch::Tensor towards = sums_.index_select(0, at::tensor(stale, at::kLong)).t();  // [D, stale]
  auto* reach = reach_.mutable_data_ptr<float>();
  at::parallel_for(0, (items_ + kTileRows - 1) / kTileRows, 1, [&](int64_t begin, int64_t end) {
    const at::NoGradGuard no_grad;
    for (int64_t tile = begin; tile < end; ++tile) {
      const int64_t first = tile * kTileRows, rows = std::min(kTileRows, items_ - first);
      const torch::Tensor product = at::mm(vectors_.narrow(0, first, rows), towards);
      const auto* from = product.const_data_ptr<float>();
      for (int64_t i = 0; i < rows; ++i)
        for (int64_t n = 0; n < count; ++n) reach[(first + i) * clusters_ + stale[n]] = from[i * count + n];
    }
  });
}

// offers[a, b]: the item of cluster b that gains most by leaving it for cluster a.
void VectorExchange::make_offers() {
  const auto* reach = reach_.const_data_ptr<float>();
  const int64_t size = items_ / clusters_;
  at::parallel_for(0, clusters_, 1, [&](int64_t begin, int64_t end) {
    std::vector<float> best(static_cast<size_t>(clusters_));
    std::vector<int32_t> item(static_cast<size_t>(clusters_));
    for (int64_t b = begin; b < end; ++b) {
      std::fill(best.begin(), best.end(), -std::numeric_limits<float>::infinity());
      for (int64_t m = 0; m < size; ++m) {
        const int32_t j = members_[b * size + m];
        const float* row = reach + j * clusters_;
        const float leaving = norms_[j] - row[b];
        for (int64_t a = 0; a < clusters_; ++a) {
          const float value = row[a] + leaving;
          item[a] = value > best[a] ? j : item[a];
          best[a] = value > best[a] ? value : best[a];
        }
      }
      for (int64_t a = 0; a < clusters_; ++a) offers_[a * clusters_ + b] = {best[a], item[a]};
    }
  });
}

// Of each item's most promising swaps those that gain by the round's first sums, best first.
void VectorExchange::propose() {
  const auto* reach = reach_.const_data_ptr<float>();
  at::parallel_for(0, items_, 64, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      const int64_t from = assignment_[i];
      const float* row = reach + i * clusters_;
      const Offer* offers = offers_.data() + from * clusters_;
      const float leaving = norms_[i] - row[from];
      Proposal* best = proposals_.data() + i * kProposals;
      std::fill(best, best + kProposals, Proposal{least_gain_, -1});
      for (int64_t b = 0; b < clusters_; ++b) {
        const float value = row[b] + leaving + offers[b].gain;
        if (!(value > best[kProposals - 1].gain) || b == from) continue;
        int64_t place = kProposals - 1;
        for (; place > 0 && value > best[place - 1].gain; --place) best[place] = best[place - 1];
        best[place] = {value, offers[b].item};
      }
      for (Proposal* p = best; p < best + kProposals; ++p) {
        if (p->partner >= 0) p->gain = gain(i, p->partner);
        if (!(p->gain > least_gain_)) p->partner = -1;
      }
      std::stable_sort(best, best + kProposals, [](const Proposal& a, const Proposal& b) {
        return a.partner >= 0 && (b.partner < 0 || a.gain > b.gain);
      });
    }
  });
}

float VectorExchange::gain(int64_t i, int64_t j) const {
  const float *x = vector(i), *y = vector(j);
  const float* sums = sums_.const_data_ptr<float>();
  const float *from = sums + assignment_[i] * dimension_, *to = sums + assignment_[j] * dimension_;
  float sum = 0;
#pragma omp simd reduction(+ : sum)
  for (int64_t k = 0; k < dimension_; ++k) {
    const float d = x[k] - y[k];
    sum += d * (to[k] - from[k] + d);
  }
  return sum;
}

void VectorExchange::swap(int64_t i, int64_t j) {
  const float *x = vector(i), *y = vector(j);
  float* sums = sums_.mutable_data_ptr<float>();
  float *from = sums + assignment_[i] * dimension_, *to = sums + assignment_[j] * dimension_;
  for (int64_t k = 0; k < dimension_; ++k) {
    const float d = x[k] - y[k];
    from[k] -= d;
    to[k] += d;
  }
  changed_[assignment_[i]] = changed_[assignment_[j]] = 1;
  std::swap(assignment_[i], assignment_[j]);
}

int64_t VectorExchange::round() {
  refresh();
  make_offers();
  propose();
  int64_t swaps = 0;
  for (int64_t i = 0; i < items_; ++i) {
    const Proposal* proposals = proposals_.data() + i * kProposals;
    for (int64_t p = 0; p < kProposals && proposals[p].partner >= 0; ++p) {
      const int64_t j = proposals[p].partner;
      if (assignment_[j] == assignment_[i] || !(gain(i, j) > least_gain_)) continue;
      swap(i, j);
      ++swaps;
      break;
    }
  }
  return swaps;
}

double VectorExchange::within() const {
  std::vector<double> sum(static_cast<size_t>(dimension_));
  std::vector<std::vector<int64_t>> members(static_cast<size_t>(clusters_));
  for (int64_t i = 0; i < items_; ++i) members[assignment_[i]].push_back(i);
  double total = 0;
  for (const auto& cluster : members) {
    std::fill(sum.begin(), sum.end(), 0.0);
    for (const int64_t i : cluster)
      for (int64_t k = 0; k < dimension_; ++k) sum[k] += vector(i)[k];
    for (const double value : sum) total += value * value;
  }
  return total;
}

double VectorExchange::trace() const {
  return std::accumulate(norms_.begin(), norms_.end(), 0.0);
}

}  // namespace d2dmoe::cluster
