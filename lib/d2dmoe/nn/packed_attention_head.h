#pragma once

#include <c10/util/BFloat16.h>

#include <cstdint>
#include <memory>

namespace d2dmoe::nn {

/// The columns of one head in some rows of a tensor: row i begins at data + i * stride.
template <class T>
struct HeadRows {
  T* data;
  int64_t stride;
};

/// Most queries and most keys of a head: three [queries, keys] matrices of a head and a gradient must stay in
/// a core's cache. The random numbers of a row of weights are counted by it.
constexpr int64_t kLongestHead = 512;

/// One head of one sequence.
struct AttentionHead {
  int64_t queries = 0, keys = 0, dim = 0;
  double dropout = 0;  ///< probability of dropping a weight
  uint64_t seed = 0;
  uint64_t first_row =
      0;  ///< number of its first query row among all rows of weights, for the random numbers
};

/// Memory that a thread uses again for every head.
class HeadScratch {
 public:
  /// @return  at least `floats` floats, aligned to a vector, contents undefined
  float* take(int64_t floats);

 private:
  struct Free {
    void operator()(float* memory) const;
  };
  std::unique_ptr<float, Free> memory_;
  int64_t size_ = 0;
};

/// out = drop(softmax(q k^T / sqrt(dim))) v. T: float or c10::BFloat16.
template <class T>
void attend_head(const AttentionHead& head, HeadRows<T> q, HeadRows<T> k, HeadRows<T> v, HeadRows<T> out,
                 HeadScratch& scratch);

/// Gradients of attend_head, written (not added).
template <class T>
void attend_head_backward(const AttentionHead& head, HeadRows<T> q, HeadRows<T> k, HeadRows<T> v,
                          HeadRows<T> out_grad, HeadRows<T> q_grad, HeadRows<T> k_grad, HeadRows<T> v_grad,
                          HeadScratch& scratch);

}  // namespace d2dmoe::nn
