#pragma once

#include <torch/types.h>

#include <string>
#include <vector>

namespace d2dmoe::data {

/// A batch without padding: the token rows of B sequences, one sequence after the other, N rows in all.
struct Batch {
  torch::Tensor token_ids;       ///< [N] int64
  torch::Tensor type_ids;        ///< [N] int64
  torch::Tensor positions;       ///< [N] int64, 0 … length-1 within each sequence
  std::vector<int64_t> lengths;  ///< B entries that sum to N
  torch::Tensor labels;          ///< [B] int64 (classes) or float32 (regression); undefined when unknown
  std::vector<int64_t> rows;     ///< B entries: which example of the data set each sequence is

  int64_t size() const { return static_cast<int64_t>(lengths.size()); }
  int64_t tokens() const { return token_ids.size(0); }
  /// B times the longest length: the rows that a padded batch would have.
  int64_t padded_tokens() const;
  Batch to(torch::Device device) const;
};

}  // namespace d2dmoe::data
