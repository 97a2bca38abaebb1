#include "d2dmoe/core/random.h"

#include <numeric>
#include <utility>

namespace d2dmoe {

uint64_t derive_seed(uint64_t seed, std::string_view use, uint64_t index) {
  uint64_t hash = 0xCBF29CE484222325;  // FNV-1a
  for (const char c : use) hash = (hash ^ static_cast<unsigned char>(c)) * 0x100000001B3;
  return split_mix(split_mix(split_mix(seed + kSplitMixStep) ^ hash) + kSplitMixStep * (index + 1));
}

uint64_t Rng::next() {
  state_ += kSplitMixStep;
  return split_mix(state_);
}

uint64_t Rng::below(uint64_t bound) {
  // Lemire's multiplication; numbers below `threshold` would make the first results likelier.
  const uint64_t threshold = (0 - bound) % bound;
  while (true) {
    const unsigned __int128 product = static_cast<unsigned __int128>(next()) * bound;
    if (static_cast<uint64_t>(product) >= threshold) return static_cast<uint64_t>(product >> 64);
  }
}

double Rng::uniform() {
  return static_cast<double>(next() >> 11) * 0x1.0p-53;
}

std::vector<int64_t> Rng::permutation(int64_t n) {
  std::vector<int64_t> order(static_cast<size_t>(n));
  std::iota(order.begin(), order.end(), int64_t{0});
  for (size_t i = order.size(); i > 1; --i) std::swap(order[i - 1], order[below(i)]);
  return order;
}

}  // namespace d2dmoe
