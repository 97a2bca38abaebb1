#pragma once

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

/// How many of a chunk's elements exist when `left` do from its start on.
template <class T>
D2DMOE_DEVICE int in_chunk(int left) {
  return left < 0 ? 0 : left > kPerChunk<T> ? kPerChunk<T> : left;
}

/// Which fragments of a warp hold anything: a is the number of live 16-row fragments (they come first), b a
/// bit per 8-column fragment, k the number of elements that exist from the start of this step on.
struct Live {
  int a;
  unsigned b;
  int k;
};

/// sums += A B^T over one step. A's fragment i are lines first_a + i * a_apart …, B's fragment j are lines
/// first_b + 8 j …; both tiles in 64-byte lines.
template <class T, int kA>
D2DMOE_DEVICE void multiply_lines(float (&sums)[kA][4][4], const Chunk* a, int first_a, int a_apart,
                                  const Chunk* b, int first_b, Live live, T element) {
  const int lane = static_cast<int>(threadIdx.x) % 32;
#pragma unroll
  for (int k = 0; k < kLineChunks; k += 2) {
    if (k * kPerChunk<T> >= live.k) break;
    uint32_t of_b[2][4];  // fragments 2j and 2j + 1, two words each
#pragma unroll
    for (int j = 0; j < 2; ++j)
      load_matrices(of_b[j], &b[line_chunk(first_b + 16 * j + lane % 8 + lane / 16 * 8, k + lane / 8 % 2)]);
#pragma unroll
    for (int i = 0; i < kA; ++i) {
      if (i >= live.a) break;
      uint32_t of_a[4];
      load_matrices(of_a, &a[line_chunk(first_a + i * a_apart + lane % 16, k + lane / 16)]);
#pragma unroll
      for (int j = 0; j < 4; ++j)
        if (live.b >> j & 1u)
          multiply(sums[i][j], of_a, of_b[j / 2][j % 2 * 2], of_b[j / 2][j % 2 * 2 + 1], element);
    }
  }
}

D2DMOE_DEVICE float word_of(const Chunk& chunk, int i) {
  return __uint_as_float(chunk.word[i]);
}

/// The same in float32, without tensor cores: lanes hold the same elements.
template <int kA>
D2DMOE_DEVICE void multiply_lines(float (&sums)[kA][4][4], const Chunk* a, int first_a, int a_apart,
                                  const Chunk* b, int first_b, Live live, float) {
  const int lane = static_cast<int>(threadIdx.x) % 32, g = lane / 4, t = lane % 4;
#pragma unroll
  for (int k = 0; k < kLineChunks; ++k) {
    if (k * kPerChunk<float> >= live.k) break;
    Chunk of_a[kA][2];
#pragma unroll
    for (int i = 0; i < kA; ++i)
#pragma unroll
      for (int r = 0; r < 2; ++r) of_a[i][r] = a[line_chunk(first_a + i * a_apart + g + 8 * r, k)];
#pragma unroll
    for (int j = 0; j < 4; ++j) {
      if (!(live.b >> j & 1u)) continue;
#pragma unroll
      for (int c = 0; c < 2; ++c) {
        const Chunk of_b = b[line_chunk(first_b + 8 * j + 2 * t + c, k)];
#pragma unroll
        for (int i = 0; i < kA; ++i)
#pragma unroll
          for (int r = 0; r < 2; ++r)
#pragma unroll
            for (int q = 0; q < 4; ++q) sums[i][j][2 * r + c] += word_of(of_a[i][r], q) * word_of(of_b, q);
      }
    }
  }
}

/// sums += A B over one step, B's line k being row k of the product's inner dimension (kColumns elements
/// wide): fragments 0 and 1 of B are columns first_b … first_b + 15.
template <class T, int kA>
D2DMOE_DEVICE void multiply_columns(float (&sums)[kA][2][4], const Chunk* a, int first_a, int a_apart,
                                    const Chunk* b, int first_b, Live live, T element) {
  const int lane = static_cast<int>(threadIdx.x) % 32;
#pragma unroll
  for (int k = 0; k < kLineChunks; k += 2) {
    if (k * kPerChunk<T> >= live.k) break;
    uint32_t of_b[4];
    load_matrices_transposed(
        of_b, &b[column_chunk<T>(k * kPerChunk<T> + lane % 16, first_b / kPerChunk<T> + lane / 16)]);
#pragma unroll
    for (int i = 0; i < kA; ++i) {
      if (i >= live.a) break;
      uint32_t of_a[4];
      load_matrices(of_a, &a[line_chunk(first_a + i * a_apart + lane % 16, k + lane / 16)]);
#pragma unroll
      for (int j = 0; j < 2; ++j)
        if (live.b >> j & 1u) multiply(sums[i][j], of_a, of_b[2 * j], of_b[2 * j + 1], element);
    }
  }
}

template <int kA>
D2DMOE_DEVICE void multiply_columns(float (&sums)[kA][2][4], const Chunk* a, int first_a, int a_apart,
                                    const Chunk* b, int first_b, Live live, float) {
  const int lane = static_cast<int>(threadIdx.x) % 32, g = lane / 4, t = lane % 4;
#pragma unroll
  for (int k = 0; k < kLineChunks; ++k) {
    if (k * kPerChunk<float> >= live.k) break;
    Chunk of_a[kA][2];
#pragma unroll
    for (int i = 0; i < kA; ++i)
#pragma unroll
      for (int r = 0; r < 2; ++r) of_a[i][r] = a[line_chunk(first_a + i * a_apart + g + 8 * r, k)];
#pragma unroll
    for (int j = 0; j < 2; ++j) {
      if (!(live.b >> j & 1u)) continue;
#pragma unroll
      for (int q = 0; q < 4; ++q) {
        const int column = first_b + 8 * j + 2 * t;
        const float* of_b =
            reinterpret_cast<const float*>(&b[column_chunk<float>(4 * k + q, column / 4)]) + column % 4;
#pragma unroll
        for (int c = 0; c < 2; ++c)
#pragma unroll
          for (int i = 0; i < kA; ++i)
#pragma unroll
            for (int r = 0; r < 2; ++r) sums[i][j][2 * r + c] += word_of(of_a[i][r], q) * of_b[c];
      }
    }
  }
}

}  // namespace d2dmoe::kernels::cuda::D2DMOE_SIMT
