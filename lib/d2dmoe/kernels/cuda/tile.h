#pragma once

#include <cmath>

#include "d2dmoe/kernels/cuda/device.h"
#include "d2dmoe/kernels/cuda/plan.h"

/// What the two products share: bringing chunks into shared memory, and one step of multiplication by a warp.
/// Both leave sums as the tensor cores do: lane 4g + t holds (rows g and g + 8, columns 2t and 2t + 1) of
/// each 16x8 fragment, so that what follows is one text for all element types.
namespace d2dmoe::kernels::cuda::D2DMOE_SIMT {

/// A place in shared memory, both ways that it is spoken of.
struct Shared {
  Chunk* chunks;
  SharedAddress address;

  /// Further by so many chunks.
  D2DMOE_DEVICE Shared at(int further) const { return {chunks + further, address + 16 * further}; }
};

/// Brings the first `count` (0 … a chunk's) elements of a chunk, zeros in place of the others. Visible to the
/// block after copies_wait and a barrier.
/// @param from  what to read; not read beyond the valid elements, but where kAligned is set 16-byte aligned
template <bool kAligned, class T>
D2DMOE_DEVICE void bring(Shared to, const T* from, int count) {
  if (kAligned) {
    copy_async(to.address, from, count * static_cast<int>(sizeof(T)));
  } else {
    T* out = reinterpret_cast<T*>(to.chunks);
#pragma unroll
    for (int i = 0; i < kPerChunk<T>; ++i) out[i] = i < count ? from[i] : T{};
  }
}

/// Four words of an operand as load_matrices gives them: one fragment of A, or two of B.
template <class T, bool kChecked>
struct Factor {
  uint32_t word[4];

  D2DMOE_DEVICE explicit Factor(const uint32_t (&words)[4]) {
#pragma unroll
    for (int i = 0; i < 4; ++i) word[i] = words[i];
  }
};

/// Float32 numbers as two of TF32's 11 bits each, whose sum they are up to 2^-21 of them: `high` is rounded
/// to nearest, of `low` the tensor cores look at the upper bits. Infinity, and what would round to it, has no
/// such halves: its products come out as NaN, whatever the other factor is. Where kChecked is set they come
/// out as those of float32 do: infinity is 1 and itself, and numbers next to it are cut instead of rounded.
template <bool kChecked>
struct Factor<float, kChecked> {
  uint32_t high[4], low[4];

  D2DMOE_DEVICE explicit Factor(const uint32_t (&words)[4]) {
    constexpr uint32_t kHalfUnit = 0x1000u, kKept = 0xffffe000u, kSign = 0x80000000u, kOne = 0x3f800000u;
    constexpr float kRoundsToInfinity = 3.40199290e38f, kLargest = 3.40282347e38f;  // (2 - 2^-11) 2^127
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      high[i] = (words[i] + kHalfUnit) & kKept;
      if (kChecked) {
        const float size = fabsf(__uint_as_float(words[i]));
        if (!(size < kRoundsToInfinity))
          high[i] = size <= kLargest ? words[i] & kKept : (words[i] & kSign) | kOne;
      }
      low[i] = __float_as_uint(__uint_as_float(words[i]) - __uint_as_float(high[i]));
    }
  }
};

/// sums += one fragment of A times four of B.
template <class T, bool kChecked>
D2DMOE_DEVICE void multiply_row(float (&sums)[4][4], const Factor<T, kChecked>& a,
                                const Factor<T, kChecked> (&b)[2]) {
#pragma unroll
  for (int j = 0; j < 4; ++j)
    multiply(sums[j], a.word, b[j / 2].word[j % 2 * 2], b[j / 2].word[j % 2 * 2 + 1], T{});
}
/// The same in float32 by three products of halves; what is left out is about 2^-20 of each product of two
/// numbers.
template <bool kChecked>
D2DMOE_DEVICE void multiply_row(float (&sums)[4][4], const Factor<float, kChecked>& a,
                                const Factor<float, kChecked> (&b)[2]) {
#pragma unroll
  for (int j = 0; j < 4; ++j)
    multiply(sums[j], a.low, b[j / 2].high[j % 2 * 2], b[j / 2].high[j % 2 * 2 + 1], Tf32{});
#pragma unroll
  for (int j = 0; j < 4; ++j)
    multiply(sums[j], a.high, b[j / 2].low[j % 2 * 2], b[j / 2].low[j % 2 * 2 + 1], Tf32{});
#pragma unroll
  for (int j = 0; j < 4; ++j)
    multiply(sums[j], a.high, b[j / 2].high[j % 2 * 2], b[j / 2].high[j % 2 * 2 + 1], Tf32{});
}

/// The sums of a warp's fragments. Tensor cores do not round theirs to the nearest: those of float32 stay
/// short, in `part`, and are added to `whole` by add_parts.
template <class T, int kA>
struct Sums {
  static constexpr bool kShort = sizeof(T) == 4;
  float whole[kA][4][4], part[kShort ? kA : 1][4][4];

  D2DMOE_DEVICE void clear() {
#pragma unroll
    for (int i = 0; i < kA; ++i)
#pragma unroll
      for (int j = 0; j < 4; ++j)
#pragma unroll
        for (int q = 0; q < 4; ++q) {
          whole[i][j][q] = 0;
          if (kShort) part[i][j][q] = 0;
        }
  }
  D2DMOE_DEVICE float (&at(int i))[4][4] {
    if constexpr (kShort)
      return part[i];
    else
      return whole[i];
  }
  template <int kLive>
  D2DMOE_DEVICE void add_parts() {
    if constexpr (kShort) {
#pragma unroll
      for (int i = 0; i < kLive; ++i)
#pragma unroll
        for (int j = 0; j < 4; ++j)
#pragma unroll
          for (int q = 0; q < 4; ++q) {
            whole[i][j][q] += part[i][j][q];
            part[i][j][q] = 0;
          }
    }
  }
};

/// How many of a chunk's elements exist when `left` do from its start on.
template <class T>
D2DMOE_DEVICE int in_chunk(int left) {
  return left < 0 ? 0 : left > kPerChunk<T> ? kPerChunk<T> : left;
}

/// Where this lane's reads of a tile of lines of kChunks chunks begin, in chunks from the tile's start: for a
/// fragment of A, lines first … first + 15, and for two of B. `first` is a multiple of 8; the next 16
/// (float32: 8) elements of the lines are two chunks further, which is ^ 2.
template <int kChunks>
D2DMOE_DEVICE int place_of_a(int first) {
  const int lane = static_cast<int>(threadIdx.x) % 32;
  return line_chunk<kChunks>(first + lane % 16, lane / 16);
}
template <int kChunks>
D2DMOE_DEVICE int place_of_b(int first) {
  const int lane = static_cast<int>(threadIdx.x) % 32;
  return line_chunk<kChunks>(first + lane % 8 + lane / 16 * 8, lane / 8 % 2);
}

/// sums += A B^T over one step of 64-byte lines: kLive fragments of A that lie kApart lines from each other,
/// four of B.
template <class T, bool kChecked, int kLive, int kApart, int kA>
D2DMOE_DEVICE void multiply_lines(Sums<T, kA>& sums, Shared a, Shared b, int at_a, int at_b) {
  using F = Factor<T, kChecked>;
#pragma unroll
  for (int k = 0; k < kLineChunks; k += 2) {
    uint32_t words[4];
    load_matrices(words, b.at(at_b ^ k).address);
    const F first(words);
    load_matrices(words, b.at((at_b ^ k) + 16 * kLineChunks).address);
    const F of_b[2] = {first, F(words)};
#pragma unroll
    for (int i = 0; i < kLive; ++i) {
      load_matrices(words, a.at((at_a ^ k) + i * kApart * kLineChunks).address);
      multiply_row(sums.at(i), F(words), of_b);
    }
  }
  sums.template add_parts<kLive>();
}

/// Where this lane's reads of a tile of kColumns wide lines begin (column_chunk), for the 32 columns from
/// `first` on: in chunks, of float32 in elements.
template <class T>
D2DMOE_DEVICE int place_of_columns(int first, T) {
  const int lane = static_cast<int>(threadIdx.x) % 32;
  return column_chunk<T>(lane % 16, first / kPerChunk<T> + lane / 16);
}
D2DMOE_DEVICE int place_of_columns(int first, float) {
  const int lane = static_cast<int>(threadIdx.x) % 32, g = lane / 4, t = lane % 4;
  return column_chunk<float>(t, first / 4 + g / 4) * 4 + g % 4;
}
/// The B operands of 16 of the columns, the first or second 16, from line `k` on: 16 of them, 8 of float32.
template <class T>
D2DMOE_DEVICE void load_columns(uint32_t (&words)[4], Shared b, int at, int sixteen, int k, T) {
  load_matrices_transposed(words, b.at((at ^ 2 * sixteen) + k * (kColumns / kPerChunk<T>)).address);
}
D2DMOE_DEVICE void load_columns(uint32_t (&words)[4], Shared b, int at, int sixteen, int k, float) {
#pragma unroll
  for (int i = 0; i < 4; ++i)
    words[i] = reinterpret_cast<const uint32_t*>(
        b.chunks)[(at ^ (16 * sixteen + 8 * (i / 2))) + (k + 4 * (i % 2)) * kColumns];
}

/// sums += A B over one step of 128-byte lines of A, B's line k being row k of the product's inner dimension.
/// @param left  how much of the inner dimension exists from this step on: nothing is read much beyond it
template <class T, bool kChecked, int kLive, int kApart, int kA>
D2DMOE_DEVICE void multiply_columns(Sums<T, kA>& sums, Shared a, Shared b, int at_a, int at_b, int left) {
  using F = Factor<T, kChecked>;
#pragma unroll
  for (int k = 0; k < kWideChunks; k += 2) {
    if (k * kPerChunk<T> >= left) break;
    uint32_t words[4];
    load_columns(words, b, at_b, 0, k * kPerChunk<T>, T{});
    const F first(words);
    load_columns(words, b, at_b, 1, k * kPerChunk<T>, T{});
    const F of_b[2] = {first, F(words)};
#pragma unroll
    for (int i = 0; i < kLive; ++i) {
      load_matrices(words, a.at((at_a ^ k) + i * kApart * kWideChunks).address);
      multiply_row(sums.at(i), F(words), of_b);
    }
    if (k % 4 == 2) sums.template add_parts<kLive>();
  }
  if (left < kWideStep<T>) sums.template add_parts<kLive>();  // an odd one may be left
}
/// What multiply_columns looks at of the inner dimension when `left` of it exists.
template <class T>
D2DMOE_DEVICE int looked_at(int left) {
  return (left + 2 * kPerChunk<T> - 1) & ~(2 * kPerChunk<T> - 1);
}

}  // namespace d2dmoe::kernels::cuda::D2DMOE_SIMT
