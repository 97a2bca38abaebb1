#include "d2dmoe/cluster/balanced.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "d2dmoe/cluster/divisors.h"
#include "d2dmoe/cluster/exchange.h"
#include "d2dmoe/cluster/vector_exchange.h"
#include "d2dmoe/core/error.h"
#include "d2dmoe/core/random.h"

namespace d2dmoe::cluster {
namespace {

std::vector<int32_t> random_assignment(int64_t items, int64_t clusters, uint64_t seed) {
  std::vector<int32_t> assignment(static_cast<size_t>(items));
  const std::vector<int64_t> order = Rng(seed).permutation(items);
  for (int64_t place = 0; place < items; ++place)
    assignment[order[place]] = static_cast<int32_t>(place / (items / clusters));
  return assignment;
}

// Clusters numbered by their first item: one partition has one numbering.
std::vector<int64_t> numbered(const std::vector<int32_t>& assignment, int64_t clusters) {
  std::vector<int64_t> number(static_cast<size_t>(clusters), -1), result;
  result.reserve(assignment.size());
  int64_t next = 0;
  for (const int32_t c : assignment) {
    if (number[c] < 0) number[c] = next++;
    result.push_back(number[c]);
  }
  return result;
}

BalancedResult search(const float* gram, int64_t items, const BalancedOptions& options, uint64_t seed) {
  Exchange exchange(gram, items, options.clusters, random_assignment(items, options.clusters, seed));
  BalancedResult result;
  while (result.sweeps < options.max_sweeps) {
    ++result.sweeps;
    if (exchange.sweep() == 0) break;
  }
  double trace = 0;
  for (int64_t i = 0; i < items; ++i) trace += gram[i * items + i];
  result.objective = trace - exchange.within() / static_cast<double>(items / options.clusters);
  result.assignment = numbered(exchange.assignment(), options.clusters);
  return result;
}

void check(int64_t items, const BalancedOptions& options) {
  D2D_CHECK(items < std::numeric_limits<int32_t>::max(), "[balanced clusters]: {} items are too many", items);
  check_divides("balanced clusters", "clusters", options.clusters, items);
  D2D_CHECK_USAGE(options.restarts > 0, "[balanced clusters] 'restarts': got {}, must be positive",
                  options.restarts);
  D2D_CHECK_USAGE(options.max_sweeps >= 0, "[balanced clusters] 'max_sweeps': got {}, must be 0 or more",
                  options.max_sweeps);
}

}  // namespace

BalancedResult balanced_clusters(const torch::Tensor& gram, const BalancedOptions& options) {
  D2D_CHECK(gram.defined() && gram.dim() == 2 && gram.size(0) == gram.size(1) && gram.size(0) > 0,
            "[balanced clusters] 'gram': got {}, must be [items, items]",
            gram.defined() ? format("shape {}", gram.sizes().vec()) : "nothing");
  const int64_t items = gram.size(0), clusters = options.clusters;
  check(items, options);
  const torch::Tensor inner = gram.detach().to(at::kCPU, at::kFloat).contiguous();
  D2D_CHECK(inner.isfinite().all().item<bool>(),
            "[balanced clusters] 'gram': holds NaN or infinity. Hint: are the weights finite?");

  // Every start is a search of its own on one thread: the result cannot depend on their number.
  const int64_t starts = clusters == 1 ? 1 : options.restarts * kStarts;
  std::vector<BalancedResult> results(static_cast<size_t>(starts));
  at::parallel_for(0, starts, 1, [&](int64_t begin, int64_t end) {
    for (int64_t start = begin; start < end; ++start)
      results[start] = search(inner.const_data_ptr<float>(), items, options,
                              derive_seed(options.seed, "balanced clusters", static_cast<uint64_t>(start)));
  });
  return *std::min_element(results.begin(), results.end(),
                           [](const auto& a, const auto& b) { return a.objective < b.objective; });
}

BalancedResult balanced_clusters_of_vectors(const torch::Tensor& vectors, const BalancedOptions& options) {
  D2D_CHECK(vectors.defined() && vectors.dim() == 2 && vectors.size(0) > 0,
            "[balanced clusters] 'vectors': got {}, must be [items, dimension]",
            vectors.defined() ? format("shape {}", vectors.sizes().vec()) : "nothing");
  const int64_t items = vectors.size(0), clusters = options.clusters;
  check(items, options);
  const torch::Tensor rows = vectors.detach().to(at::kCPU, at::kFloat).contiguous();
  D2D_CHECK(std::isfinite(rows.sum(at::kDouble).item<double>()),  // no copy of the items' size
            "[balanced clusters] 'vectors': holds NaN or infinity. Hint: are the weights finite?");
  BalancedResult best;
  for (int64_t start = 0; start < options.restarts; ++start) {
    VectorExchange exchange(
        rows, clusters,
        random_assignment(items, clusters,
                          derive_seed(options.seed, "balanced clusters", static_cast<uint64_t>(start))));
    BalancedResult result;
    while (result.sweeps < options.max_sweeps) {
      ++result.sweeps;
      if (exchange.round() == 0) break;
    }
    result.objective = exchange.trace() - exchange.within() / static_cast<double>(items / clusters);
    if (start > 0 && result.objective >= best.objective) continue;
    result.assignment = numbered(exchange.assignment(), clusters);
    best = std::move(result);
  }
  return best;
}

}  // namespace d2dmoe::cluster
