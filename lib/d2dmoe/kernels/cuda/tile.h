#pragma once

#include <cmath>

#include "d2dmoe/kernels/cuda/device.h"
#include "d2dmoe/kernels/cuda/plan.h"

/// What the two products share: bringing chunks into shared memory, and one step of multiplication by a warp.
/// Both leave sums as the tensor cores do: lane 4g + t holds (rows g and g + 8, columns 2t and 2t + 1) of
/// each 16x8 fragment, so that what follows is one text for all element types.
namespace d2dmoe::kernels::cuda::D2DMOE_SIMT {

/// Brings the first `count` (0 … a chunk's) elements of a chunk, zeros in place of the others. Visible to the
/// block after copies_wait and a barrier.
/// @param from  what to read; not read beyond the valid elements, but where kAligned is set 16-byte aligned
template <bool kAligned, class T>
D2DMOE_DEVICE void bring(Chunk* to, const T* from, int count) {
  if (kAligned) {
    copy_async(to, from, count * static_cast<int>(sizeof(T)));
  } else {
    T* out = reinterpret_cast<T*>(to);
#pragma unroll
    for (int i = 0; i < kPerChunk<T>; ++i) out[i] = i < count ? from[i] : T{};
  }
}

/// Four words of an operand as load_matrices gives them: one fragment of A, or two of B.
template <class T>
struct Factor {
  uint32_t word[4];

  D2DMOE_DEVICE explicit Factor(const uint32_t (&words)[4]) {
#pragma unroll
    for (int i = 0; i < 4; ++i) word[i] = words[i];
  }
};

/// Float32 numbers as two of TF32's 11 bits each, whose sum they are up to 2^-21 of them: `high` is rounded
/// to nearest, of `low` the tensor cores look at the upper bits. Infinity, NaN and what would round to
/// infinity are 1 and the number: the products of such halves with those of a finite number add up to the
/// product.
template <>
struct Factor<float> {
  uint32_t high[4], low[4];

  D2DMOE_DEVICE explicit Factor(const uint32_t (&words)[4]) {
    constexpr uint32_t kHalfUnit = 0x1000u, kKept = 0xffffe000u, kSign = 0x80000000u, kOne = 0x3f800000u;
    constexpr float kRoundsToInfinity = 3.40199290e38f;  // (2 - 2^-11) 2^127
    bool all_round = true;
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      all_round &= fabsf(__uint_as_float(words[i])) < kRoundsToInfinity;  // false for NaN
      high[i] = (words[i] + kHalfUnit) & kKept;
      low[i] = __float_as_uint(__uint_as_float(words[i]) - __uint_as_float(high[i]));
    }
    if (all_round) return;
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      if (fabsf(__uint_as_float(words[i])) < kRoundsToInfinity) continue;
      high[i] = (words[i] & kSign) | kOne;
      low[i] = __float_as_uint(__uint_as_float(words[i]) - __uint_as_float(high[i]));
    }
  }
};

/// One fragment of A times four of B.
template <class T>
D2DMOE_DEVICE void multiply_row(float (&sums)[4][4], const Factor<T>& a, const Factor<T> (&b)[2]) {
#pragma unroll
  for (int j = 0; j < 4; ++j)
    multiply(sums[j], a.word, b[j / 2].word[j % 2 * 2], b[j / 2].word[j % 2 * 2 + 1], T{});
}
/// The same in float32 by three products of halves; what is left out is about 2^-20 of each product of two
/// numbers. Tensor cores do not round their sums to the nearest, so those stay short.
D2DMOE_DEVICE void multiply_row(float (&sums)[4][4], const Factor<float>& a, const Factor<float> (&b)[2]) {
  float part[4][4];
#pragma unroll
  for (int j = 0; j < 4; ++j) {
#pragma unroll
    for (int q = 0; q < 4; ++q) part[j][q] = 0;
    multiply(part[j], a.low, b[j / 2].high[j % 2 * 2], b[j / 2].high[j % 2 * 2 + 1], Tf32{});
  }
#pragma unroll
  for (int j = 0; j < 4; ++j)
    multiply(part[j], a.high, b[j / 2].low[j % 2 * 2], b[j / 2].low[j % 2 * 2 + 1], Tf32{});
#pragma unroll
  for (int j = 0; j < 4; ++j)
    multiply(part[j], a.high, b[j / 2].high[j % 2 * 2], b[j / 2].high[j % 2 * 2 + 1], Tf32{});
#pragma unroll
  for (int j = 0; j < 4; ++j)
#pragma unroll
    for (int q = 0; q < 4; ++q) sums[j][q] += part[j][q];
}

/// How many of a chunk's elements exist when `left` do from its start on.
template <class T>
D2DMOE_DEVICE int in_chunk(int left) {
  return left < 0 ? 0 : left > kPerChunk<T> ? kPerChunk<T> : left;
}

/// Where this lane's reads of a tile of 64-byte lines begin, in chunks from the tile's start: for a fragment
/// of A, lines first … first + 15, and for two of B. `first` is a multiple of 8; the second half of a line is
/// two chunks further, which is ^ 2.
D2DMOE_DEVICE int place_of_a(int first) {
  const int lane = static_cast<int>(threadIdx.x) % 32;
  return line_chunk(first + lane % 16, lane / 16);
}
D2DMOE_DEVICE int place_of_b(int first) {
  const int lane = static_cast<int>(threadIdx.x) % 32;
  return line_chunk(first + lane % 8 + lane / 16 * 8, lane / 8 % 2);
}

/// sums += A B^T over one step: kLive fragments of A that lie kApart lines from each other, four of B.
template <class T, int kLive, int kApart, int kA>
D2DMOE_DEVICE void multiply_lines(float (&sums)[kA][4][4], const Chunk* a, const Chunk* b, int at_a,
                                  int at_b) {
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    uint32_t words[4];
    load_matrices(words, &b[at_b ^ 2 * half]);
    const Factor<T> first(words);
    load_matrices(words, &b[(at_b ^ 2 * half) + 16 * kLineChunks]);
    const Factor<T> of_b[2] = {first, Factor<T>(words)};
#pragma unroll
    for (int i = 0; i < kLive; ++i) {
      load_matrices(words, &a[(at_a ^ 2 * half) + i * kApart * kLineChunks]);
      multiply_row(sums[i], Factor<T>(words), of_b);
    }
  }
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
/// The B operands of 16 of the columns, the first or second 16, over half a step.
template <class T>
D2DMOE_DEVICE void load_columns(uint32_t (&words)[4], const Chunk* b, int at, int sixteen, int half, T) {
  load_matrices_transposed(words, &b[(at ^ 2 * sixteen) + half * 16 * (kColumns / kPerChunk<T>)]);
}
D2DMOE_DEVICE void load_columns(uint32_t (&words)[4], const Chunk* b, int at, int sixteen, int half, float) {
#pragma unroll
  for (int i = 0; i < 4; ++i)
    words[i] = reinterpret_cast<const uint32_t*>(
        b)[(at ^ (16 * sixteen + 8 * (i / 2))) + (8 * half + 4 * (i % 2)) * kColumns];
}

/// sums += A B over one step, B's line k being row k of the product's inner dimension.
template <class T, int kLive, int kApart, int kA>
D2DMOE_DEVICE void multiply_columns(float (&sums)[kA][4][4], const Chunk* a, const Chunk* b, int at_a,
                                    int at_b) {
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    uint32_t words[4];
    load_columns(words, b, at_b, 0, half, T{});
    const Factor<T> first(words);
    load_columns(words, b, at_b, 1, half, T{});
    const Factor<T> of_b[2] = {first, Factor<T>(words)};
#pragma unroll
    for (int i = 0; i < kLive; ++i) {
      load_matrices(words, &a[(at_a ^ 2 * half) + i * kApart * kLineChunks]);
      multiply_row(sums[i], Factor<T>(words), of_b);
    }
  }
}

}  // namespace d2dmoe::kernels::cuda::D2DMOE_SIMT
