#include "d2dmoe/kernels/row_lists.h"

#include <algorithm>

namespace d2dmoe::kernels {
int64_t count_pairs(const uint8_t* mask, int64_t count) {
  int64_t pairs = 0, i = 0;
  for (; i + 8 <= count; i += 8) pairs += std::popcount(eight_experts(mask + i));
  for (; i < count; ++i) pairs += mask[i];
  return pairs;
}

int64_t count_pairs(const torch::Tensor& mask) {
  return count_pairs(reinterpret_cast<const uint8_t*>(mask.const_data_ptr<bool>()), mask.numel());
}

void build_row_lists(const uint8_t* mask, int64_t rows, int64_t experts, RowLists& lists) {
  lists.offsets.assign(static_cast<size_t>(experts) + 2, 0);
  // Counted two places ahead, so that after the running sum offsets[e + 1] is where expert e's next row goes,
  // and after the fill it is where expert e ends.
  int32_t* next = lists.offsets.data() + 1;
  for (int64_t n = 0; n < rows; ++n)
    for (int64_t e = 0; e < experts; ++e) lists.offsets[e + 2] += mask[n * experts + e];
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
  for (int64_t n = 0; n < rows; ++n)  // a row without experts still costs something
    before[n + 1] = before[n] + count_pairs(mask + n * experts, experts) + 1;
  for (int64_t p = 1; p < parts; ++p) {
    const int64_t goal = before[rows] * p / parts;
    const int64_t cut = std::lower_bound(before.begin(), before.end(), goal) - before.begin();
    starts[p] = std::clamp(cut, starts[p - 1] + 1, rows - (parts - p));
  }
  return starts;
}

}  // namespace d2dmoe::kernels
