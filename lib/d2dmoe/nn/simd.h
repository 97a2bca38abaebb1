#pragma once

#include <cstdint>

/// Vectors for loops that the compiler's baseline would leave slow: a function marked D2D_CLONES is compiled
/// for several instruction sets, and the machine's best is chosen when the program starts, before anything
/// could read $D2DMOE_ISA: these passes over memory (dropout, penalties) do not follow it.
#if defined(__x86_64__) && defined(__linux__) && defined(__GNUC__) && !defined(__clang__)
#define D2D_HAS_CLONES
#define D2D_CLONES __attribute__((target_clones("arch=x86-64-v4", "arch=x86-64-v3", "default")))
#else
#define D2D_CLONES
#endif

namespace d2dmoe::nn::simd {

inline constexpr int64_t kWidth = 16;
using Floats = float __attribute__((vector_size(64)));
using Ints = int32_t __attribute__((vector_size(64)));
/// The same at any address of a float.
using LooseFloats = float __attribute__((vector_size(64), aligned(4), may_alias));

/// `n` rounded up to whole vectors.
constexpr int64_t padded(int64_t n) {
  return (n + kWidth - 1) / kWidth * kWidth;
}

}  // namespace d2dmoe::nn::simd
