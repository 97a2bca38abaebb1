#pragma once

#include <cstdint>
#include <cstring>

namespace d2dmoe::kernels {

/// How many flags of `count` are set.
inline int64_t chosen_pairs(const bool* mask, int64_t count) {
  int64_t sum = 0, i = 0;
  // Flags are bytes of 0 or 1: a product adds eight of them up in its highest byte.
  for (; i + 8 <= count; i += 8) {
    uint64_t eight;
    std::memcpy(&eight, mask + i, 8);
    sum += static_cast<int64_t>((eight * 0x0101010101010101u) >> 56);
  }
  for (; i < count; ++i) sum += mask[i];
  return sum;
}

}  // namespace d2dmoe::kernels
