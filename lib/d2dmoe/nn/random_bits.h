#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>

#include "d2dmoe/core/random.h"

/// The random numbers of dropout: any element's can be computed by any thread, from a seed and a counter.
namespace d2dmoe::nn {

inline constexpr int64_t kRandomLanes = 4;  ///< elements decided by one number of 64 bits, 16 bits each
inline constexpr uint32_t kRandomRange = 1 << 16;

/// SplitMix64 of a counter.
inline uint64_t random_bits(uint64_t seed, uint64_t block) {
  return split_mix(seed + (block + 1) * kSplitMixStep);
}

/// An element is dropped where its 16 bits are below this. @param p  in [0, 1); rounded to a multiple of
/// 2^-16
inline uint32_t random_threshold(double p) {
  return static_cast<uint32_t>(std::min<int64_t>(std::llround(p * kRandomRange), kRandomRange - 1));
}

/// What kept elements are multiplied by, so that the expectation stays.
inline float random_scale(uint32_t threshold) {
  return static_cast<float>(kRandomRange) / static_cast<float>(kRandomRange - threshold);
}

}  // namespace d2dmoe::nn
