#pragma once

#include <torch/types.h>

#include <cstdint>
#include <vector>

namespace d2dmoe::cluster {

/// Starts of one restart: their best lies below the typical single one by about 0.2 %, and a few threads run
/// them in the time of one.
inline constexpr int64_t kStarts = 4;
/// Above so many items a search goes by their vectors: the similarity matrix of 4096 takes 64 MiB, that of
/// 16384 would take 1 GiB per site.
inline constexpr int64_t kGramItems = 4096;

struct BalancedOptions {
  int64_t clusters = 0;
  uint64_t seed = 0;
  int64_t restarts =
      1;  ///< each is kStarts random starts side by side (by vectors: one); the best of all is kept
  int64_t max_sweeps = 60;  ///< passes of pairwise exchange
};

struct BalancedResult {
  std::vector<int64_t>
      assignment;        ///< [F] cluster of each item; every cluster has exactly F / clusters items
  double objective = 0;  ///< sum over items of squared distance to their cluster's mean (k-means' inertia)
  int64_t sweeps = 0;
};

/// Balanced k-means in kernel form by pairwise exchange: only the similarity matrix of the items is needed.
/// Deterministic for a seed, whatever the number of threads.
/// @param gram  [F, F] float32, symmetric: inner products of the items
/// @throws Error  clusters does not divide F (lists the divisors near it); gram not square or not finite
/// @ref docs/method.md §3
BalancedResult balanced_clusters(const torch::Tensor& gram, const BalancedOptions& options);

/// The same from the items' vectors, in memory of items * (dimension + clusters) numbers: the similarity of
/// two items is the inner product of theirs. For many items: one search uses all threads, and its objective
/// lies about 0.1 % above that of the exact search (VectorExchange). Deterministic for a seed, whatever the
/// number of threads.
/// @param vectors  [F, M] float32
/// @throws Error  clusters does not divide F (lists the divisors near it); vectors not a matrix or not finite
BalancedResult balanced_clusters_of_vectors(const torch::Tensor& vectors, const BalancedOptions& options);

}  // namespace d2dmoe::cluster
