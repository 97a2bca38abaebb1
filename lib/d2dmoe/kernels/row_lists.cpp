#include "d2dmoe/kernels/row_lists.h"

#include <algorithm>
#include <cstring>

namespace d2dmoe::kernels {
namespace {

// Calls f(e) for every chosen expert of a row. Masks are mostly zero: eight experts are skipped by one
// comparison.
template <class F>
void for_each_chosen(const uint8_t* row, int64_t experts, F f) {
  int64_t e = 0;
  for (; e + 8 <= experts; e += 8) {
    uint64_t eight;
    std::memcpy(&eight, row + e, 8);
    if (eight == 0) continue;
    for (int64_t i = e; i < e + 8; ++i)
      if (row[i]) f(i);
  }
  for (; e < experts; ++e)
    if (row[e]) f(e);
}

}  // namespace

void build_row_lists(const uint8_t* mask, int64_t rows, int64_t experts, RowLists& lists) {
  lists.offsets.assign(static_cast<size_t>(experts) + 2, 0);
  // Counted two places ahead, so that after the running sum offsets[e + 1] is where expert e's next row goes,
  // and after the fill it is where expert e ends.
  int32_t* next = lists.offsets.data() + 1;
  for (int64_t n = 0; n < rows; ++n)
    for_each_chosen(mask + n * experts, experts, [&](int64_t e) { ++lists.offsets[e + 2]; });
  for (int64_t e = 0; e < experts; ++e) next[e + 1] += next[e];
  lists.rows.resize(static_cast<size_t>(next[experts]));
  for (int64_t n = 0; n < rows; ++n)
    for_each_chosen(mask + n * experts, experts,
                    [&](int64_t e) { lists.rows[next[e]++] = static_cast<int32_t>(n); });
  lists.offsets.resize(static_cast<size_t>(experts) + 1);
}

std::vector<int64_t> balanced_runs(const uint8_t* mask, int64_t rows, int64_t experts, int64_t parts) {
  parts = std::max<int64_t>(1, std::min(parts, rows));
  std::vector<int64_t> starts(static_cast<size_t>(parts) + 1);
  starts.back() = rows;
  if (parts == 1) return starts;
  std::vector<int64_t> before(static_cast<size_t>(rows) + 1, 0);
  for (int64_t n = 0; n < rows; ++n) {
    int64_t pairs = 1;  // a row without experts still costs something
    for_each_chosen(mask + n * experts, experts, [&](int64_t) { ++pairs; });
    before[n + 1] = before[n] + pairs;
  }
  for (int64_t p = 1; p < parts; ++p) {
    const int64_t goal = before[rows] * p / parts;
    const int64_t cut = std::lower_bound(before.begin(), before.end(), goal) - before.begin();
    starts[p] = std::clamp(cut, starts[p - 1] + 1, rows - (parts - p));
  }
  return starts;
}

}  // namespace d2dmoe::kernels
