#pragma once

#include <cstdint>
#include <vector>

namespace d2dmoe::kernels {

/// The chosen (row, expert) pairs of a mask, by expert: rows[offsets[e]] … rows[offsets[e + 1] - 1] are the
/// rows that chose expert e, in ascending order.
struct RowLists {
  std::vector<int32_t> offsets;  ///< [experts + 1]
  std::vector<int32_t> rows;     ///< [pairs], counted from the first row given
};

/// Counting sort of the pairs of `rows` mask rows; `lists` keeps its memory between calls.
/// @param mask  [rows, experts], 0 or 1, contiguous
void build_row_lists(const uint8_t* mask, int64_t rows, int64_t experts, RowLists& lists);

/// Cuts the rows into at most `parts` runs with about the same number of pairs each, so that threads which
/// own a run have equal work.
/// @return  first row of each run, then `rows`; runs are not empty unless rows is 0
std::vector<int64_t> balanced_runs(const uint8_t* mask, int64_t rows, int64_t experts, int64_t parts);

}  // namespace d2dmoe::kernels
