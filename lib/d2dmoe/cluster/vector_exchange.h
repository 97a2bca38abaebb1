#pragma once

#include <torch/types.h>

#include <cstdint>
#include <vector>

namespace d2dmoe::cluster {

/// A balanced partition that is improved by swapping two items of different clusters, from the items' vectors
/// alone: memory is items * (dimension + clusters) numbers, where Exchange needs items * items.
///
/// With s_c the sum of cluster c's vectors and d = x_i - x_j, swapping i of cluster a and j of cluster b
/// raises the sum of inner products within clusters by 2 d (s_b - s_a + d). A round measures x_i s_c for
/// every item and cluster in one matrix product, takes from it, per pair of clusters, the item that each
/// would rather give to the other, and so has each item's most promising swaps in a look at every cluster;
/// those are then tried one after the other against the sums in force. Every swap made is a gain, though a
/// round's later ones are chosen from sums that its earlier ones have changed.
///
/// Products are cut into tiles of fixed size, and swaps are made in one thread: with more than one tile (512
/// items) each is one thread's work and the result does not depend on the number of threads; a single tile is
/// LibTorch's own product.
class VectorExchange {
 public:
  /// @param vectors     [items, dimension] float32, contiguous, cpu
  /// @param assignment  cluster of each item, all clusters equally large
  VectorExchange(torch::Tensor vectors, int64_t clusters, std::vector<int32_t> assignment);

  /// One round over all items.
  /// @return  swaps made; 0 = none of the most promising swaps gains
  int64_t round();
  /// Sum over clusters of the inner products of all ordered pairs of their items, computed afresh.
  double within() const;
  /// Sum of the items' squared norms.
  double trace() const;
  const std::vector<int32_t>& assignment() const { return assignment_; }

 private:
  struct Offer {
    float gain = 0;  // of the giving cluster's side of the swap, without the pair's own term
    int32_t item = 0;
  };
  struct Proposal {  // of one item: to swap with `partner`, -1 = nothing
    float gain = 0;
    int32_t partner = -1;
  };

  const float* vector(int64_t item) const { return data_ + item * dimension_; }
  void group();
  void refresh();
  void make_offers();
  void propose();
  float gain(int64_t i, int64_t j) const;
  void swap(int64_t i, int64_t j);

  torch::Tensor vectors_;
  const float* data_;
  int64_t items_, clusters_, dimension_;
  std::vector<int32_t> assignment_;
  std::vector<int32_t> members_;     // [items]: cluster by cluster
  torch::Tensor sums_;               // [clusters, dimension]
  torch::Tensor reach_;              // [items, clusters]: x_i s_c at the round's begin
  std::vector<float> norms_;         // [items], squared
  std::vector<Offer> offers_;        // [to, from]
  std::vector<Proposal> proposals_;  // [items, kProposals]
  std::vector<uint8_t> changed_;     // [clusters] since the last refresh
  float least_gain_ = 0;
};

}  // namespace d2dmoe::cluster
