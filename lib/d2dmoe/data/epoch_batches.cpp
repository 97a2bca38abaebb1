#include <algorithm>
#include <numeric>

#include "d2dmoe/core/error.h"
#include "d2dmoe/core/random.h"
#include "d2dmoe/data/dataset.h"

namespace d2dmoe::data {
namespace {

// Enough batches that lengths within one are alike, few enough that batches differ from epoch to epoch.
constexpr int64_t kBatchesPerPool = 50;

using Rows = std::vector<int64_t>;

void sort_by_length(Rows::iterator begin, Rows::iterator end, const Dataset& dataset) {
  std::stable_sort(begin, end, [&](int64_t a, int64_t b) { return dataset.length(a) < dataset.length(b); });
}

}  // namespace

std::vector<Rows> epoch_batches(const Dataset& dataset, int64_t batch_size, bool shuffle, uint64_t seed,
                                int64_t epoch) {
  D2D_CHECK_USAGE(batch_size > 0, "[data] 'batch_size': got {}, must be at least 1", batch_size);
  const int64_t count = dataset.size();
  Rng rng(derive_seed(seed, "data order", static_cast<uint64_t>(epoch)));
  Rows rows(static_cast<size_t>(count));
  std::iota(rows.begin(), rows.end(), int64_t{0});
  if (shuffle) rows = rng.permutation(count);

  const int64_t pool = shuffle && batch_size < count / kBatchesPerPool ? batch_size * kBatchesPerPool : count;
  for (int64_t start = 0; start < count; start += pool) {
    sort_by_length(rows.begin() + start, rows.begin() + std::min(start + pool, count), dataset);
  }
  std::vector<Rows> batches;
  for (int64_t start = 0; start < count; start += batch_size) {
    batches.emplace_back(rows.begin() + start, rows.begin() + std::min(start + batch_size, count));
  }
  if (!shuffle) return batches;
  std::vector<Rows> shuffled;
  shuffled.reserve(batches.size());
  for (const int64_t i : rng.permutation(static_cast<int64_t>(batches.size()))) {
    shuffled.push_back(std::move(batches[static_cast<size_t>(i)]));
  }
  return shuffled;
}

}  // namespace d2dmoe::data
