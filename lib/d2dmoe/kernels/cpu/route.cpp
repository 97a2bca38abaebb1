#include "d2dmoe/kernels/cpu/route.h"

#include <algorithm>
#include <cstring>
#include <limits>

#include "d2dmoe/kernels/cpu/isa.h"
#include "d2dmoe/kernels/row_lists.h"

namespace d2dmoe::kernels::cpu {

int64_t finish_routed_row(const RouteArgs& a, int64_t row, const float* values, MarkRow mark) {
  const int64_t routed = a.experts - a.shared;
  float* scores = a.scores + row * a.experts;
  bool* mask = a.mask + row * a.experts;
  std::memcpy(scores + a.shared, values, sizeof(float) * static_cast<size_t>(routed));
  bool usable = true;
#pragma omp simd reduction(& : usable)
  for (int64_t e = 0; e < routed; ++e) usable &= values[e] <= std::numeric_limits<float>::max();
  if (!usable) return -1;
  mark(scores + a.shared, mask + a.shared);
  if (a.shared > 0) {
    std::fill_n(scores, a.shared, *std::max_element(values, values + routed));
    std::fill_n(mask, a.shared, true);
  }
  return count_pairs(reinterpret_cast<const uint8_t*>(mask), a.experts);
}

RouteCount route(const RouteArgs& a, MarkRow mark) {
  if (a.rows == 0) return {0, true};
  return a.bfloat16 ? route_bf16(a, mark, bf16_micro(isa())) : route_float32(a, mark);
}

}  // namespace d2dmoe::kernels::cpu
