#pragma once

#include <torch/types.h>

#include <bit>
#include <cstdint>
#include <cstring>
#include <vector>

namespace d2dmoe::kernels {

/// The chosen (row, expert) pairs of a mask, by expert: rows[offsets[e]] … rows[offsets[e + 1] - 1] are the
/// rows that chose expert e, in ascending order.
struct RowLists {
  std::vector<int32_t> offsets;  ///< [experts + 1]
  std::vector<int32_t> rows;     ///< [pairs], counted from the first row given
};

/// Eight experts of a row of a mask in one word: the lowest bit of byte i is set where expert i is chosen.
inline uint64_t eight_experts(const uint8_t* mask) {
  static_assert(std::endian::native == std::endian::little);
  uint64_t word;
  std::memcpy(&word, mask, 8);
  return word;
}

/// Calls f(e) for every chosen expert of a row, ascending. Masks are mostly zero: the set bits of eight
/// experts are gone through at once.
template <class F>
void for_each_chosen(const uint8_t* row, int64_t experts, F f) {
  int64_t e = 0;
  for (; e + 8 <= experts; e += 8)
    for (uint64_t word = eight_experts(row + e); word != 0; word &= word - 1)
      f(e + std::countr_zero(word) / 8);
  for (; e < experts; ++e)
    if (row[e]) f(e);
}

/// How many of `count` entries of a mask (0 or 1) are set.
int64_t count_pairs(const uint8_t* mask, int64_t count);
/// The same of a bool tensor on the CPU, contiguous.
int64_t count_pairs(const torch::Tensor& mask);

/// Counting sort of the pairs of `rows` mask rows; `lists` keeps its memory between calls.
/// @param mask  [rows, experts], 0 or 1, contiguous
void build_row_lists(const uint8_t* mask, int64_t rows, int64_t experts, RowLists& lists);

/// Cuts the rows into at most `parts` runs with about the same number of pairs each, so that threads which
/// own a run have equal work.
/// @return  first row of each run, then `rows`; runs are not empty unless rows is 0
std::vector<int64_t> balanced_runs(const uint8_t* mask, int64_t rows, int64_t experts, int64_t parts);

}  // namespace d2dmoe::kernels
