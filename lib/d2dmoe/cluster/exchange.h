#pragma once

#include <cstdint>
#include <vector>

namespace d2dmoe::cluster {

/// Swaps that gain less than this share of the items' mean squared norm are rounding: they could go round in
/// circles.
inline constexpr float kLeastGain = 1e-5f;

/// A balanced partition that is improved by swapping two items of different clusters.
///
/// With A[i][c] = sum of gram(i, j) over j in c, swapping i of cluster a and j of cluster b raises the sum of
/// inner products within clusters by
///   2 (A[i][b] + A[j][a] - A[i][a] - A[j][b] - 2 gram(i, j) + gram(i, i) + gram(j, j)),
/// and a swap changes two columns of A: every candidate costs a few operations, never a distance.
class Exchange {
 public:
  /// @param gram        [items, items] float32, symmetric; has to outlive the object
  /// @param assignment  cluster of each item, all clusters equally large
  Exchange(const float* gram, int64_t items, int64_t clusters, std::vector<int32_t> assignment);

  /// One pass over all items: each swaps with its best partner while that gains.
  /// @return  swaps made
  int64_t sweep();
  /// Sum over clusters of gram(i, j) over all ordered pairs of their items, computed afresh.
  double within() const;
  const std::vector<int32_t>& assignment() const { return assignment_; }

 private:
  void refresh();
  int64_t best_partner(int64_t i);
  void swap(int64_t i, int64_t j);

  const float* gram_;
  int64_t items_, clusters_;
  std::vector<int32_t> assignment_;
  std::vector<float> sums_;   // [clusters, items]: A transposed
  std::vector<float> own_;    // [items]: gram(i, i) - A[i][cluster of i]
  std::vector<float> diag_;   // [items]
  std::vector<float> gains_;  // [items], of one item's swaps: half of the formula above
  std::vector<float> reach_;  // [clusters], of one item
  float least_gain_ = 0;
};

}  // namespace d2dmoe::cluster
