#pragma once

#include <torch/types.h>

#include <string>
#include <vector>

namespace d2dmoe::data {

inline constexpr int64_t kNoTarget = -100;  ///< of a row whose next token is not counted (as in PyTorch)

/// A batch without padding: the token rows of B sequences, one sequence after the other, N rows in all. Texts
/// have token ids; images have pixels, and a vision model makes the token rows from them.
struct Batch {
  torch::Tensor token_ids;       ///< [N] int64; undefined for images, as are type_ids and positions
  torch::Tensor type_ids;        ///< [N] int64
  torch::Tensor positions;       ///< [N] int64, 0 … length-1 within each sequence
  torch::Tensor targets;         ///< language models: [N] int64, the token after each row, or kNoTarget
  torch::Tensor pixels;          ///< [B, C, H, W] float32 images; undefined for texts
  std::vector<int64_t> lengths;  ///< B entries that sum to N
  /// [B] int64 (classes), [B] float32 (regression) or [B, classes] float32 (mixed classes, each row sums to
  /// 1); undefined when unknown
  torch::Tensor labels;
  std::vector<int64_t> rows;  ///< B entries: which example of the data set each sequence is

  int64_t size() const { return static_cast<int64_t>(lengths.size()); }
  int64_t tokens() const;  ///< N
  torch::Device device() const { return pixels.defined() ? pixels.device() : token_ids.device(); }
  /// B times the longest length: the rows that a padded batch would have.
  int64_t padded_tokens() const;
  Batch to(torch::Device device) const;
};

}  // namespace d2dmoe::data
