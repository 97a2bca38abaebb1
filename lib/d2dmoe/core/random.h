#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

namespace d2dmoe {

/// A seed for one use ("data order", "split layer 3"), derived from the config's seed: uses do not disturb
/// each other, and adding one leaves the others as they were.
uint64_t derive_seed(uint64_t seed, std::string_view use, uint64_t index = 0);

inline constexpr uint64_t kSplitMixStep = 0x9E3779B97F4A7C15;  ///< between two states of SplitMix64

/// The output function of SplitMix64 (Steele, Lea, Flood: Fast splittable pseudorandom number generators,
/// 2014).
inline uint64_t split_mix(uint64_t z) {
  z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9;
  z = (z ^ (z >> 27)) * 0x94D049BB133111EB;
  return z ^ (z >> 31);
}

/// A small generator whose numbers are the same on every platform (SplitMix64), unlike the distributions of
/// <random>.
class Rng {
 public:
  explicit Rng(uint64_t seed) : state_(seed) {}
  uint64_t next();
  /// Uniform in [0, bound), bound > 0.
  uint64_t below(uint64_t bound);
  /// Uniform in [0, 1).
  double uniform();
  /// 0 … n-1 in random order.
  std::vector<int64_t> permutation(int64_t n);

 private:
  uint64_t state_;
};

}  // namespace d2dmoe
