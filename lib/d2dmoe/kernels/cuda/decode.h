#pragma once

#include "d2dmoe/kernels/cuda/activate.h"
#include "d2dmoe/kernels/cuda/lists.h"
#include "d2dmoe/kernels/cuda/plan.h"

/// The routed layer for a few rows: what counts is that each weight of a chosen expert is read once, by whole
/// 16-byte chunks, and that nothing else is read. Three kernels: a warp makes a few neurons for all rows that
/// chose their expert; a block adds up the neurons of one split of the experts for a stretch of columns; the
/// splits are added in a fixed order.
namespace d2dmoe::kernels::cuda::D2DMOE_SIMT {

/// The elements of a chunk as floats, zeros beyond `valid`.
/// @tparam kWhole  the chunk is whole and 16-byte aligned: one load without a branch, so that many are under
///                 way at once
template <bool kWhole, class T>
D2DMOE_DEVICE void load_floats(float (&out)[kPerChunk<T>], const T* from, int64_t valid) {
  if constexpr (kWhole) {
    const Chunk chunk = load_chunk(from);
    const T* of = reinterpret_cast<const T*>(&chunk);
#pragma unroll
    for (int i = 0; i < kPerChunk<T>; ++i) out[i] = to_float(of[i]);
  } else {
#pragma unroll
    for (int i = 0; i < kPerChunk<T>; ++i) out[i] = i < valid ? to_float(from[i]) : 0.0f;
  }
}

D2DMOE_DEVICE float warp_sum(float v) {
  for (unsigned d = 16; d > 0; d /= 2) v += __shfl_xor_sync(0xffffffffu, v, d);
  return v;
}

constexpr int kWarpLines = 4;  // rows of weights under way in one warp

/// Warp w of the grid: lines kWarpLines at a time (neurons; half as many where each has a gate and an up
/// line) of expert w / groups. A warp whose expert no row chose reads the mask and nothing else.
/// @tparam kWhole  rows of x, w1 and wu are whole chunks
/// @param hidden   [rows, a.hidden] float32, written where the row chose the expert
template <class T, bool kGated, bool kWhole, int kRows>
__global__ void __launch_bounds__(kThreads) decode_hidden(TypedMlpArgs<T> a, float* hidden) {
  constexpr int kNeurons = kGated ? kWarpLines / 2 : kWarpLines;
  let_next_start();
  const int lane = static_cast<int>(threadIdx.x) % 32;
  const int64_t size = a.hidden / a.experts, groups = tiles(size, kNeurons);
  const int64_t warp = static_cast<int64_t>(blockIdx.x) * kWarps + threadIdx.x / 32;
  const int64_t e = warp / groups, first = warp % groups * kNeurons;
  if (e >= a.experts) return;
  const uint32_t chosen = __ballot_sync(0xffffffffu, lane < a.rows && a.mask[lane * a.experts + e] != 0);
  if (chosen == 0) return;

  float sums[kWarpLines][kRows] = {};
  constexpr int kChunk = kPerChunk<T>;
  [[maybe_unused]] constexpr int kAtOnce = kRows == 1 ? 4 : kRows <= 4 ? 2 : 1;  // what the registers hold
#pragma unroll kAtOnce
  for (int64_t k = lane * kChunk; k < a.d_in; k += 32 * kChunk) {
    float w[kWarpLines][kChunk];
#pragma unroll
    for (int j = 0; j < kWarpLines; ++j) {
      const bool up = kGated && j >= kNeurons;
      const int64_t i = first + (up ? j - kNeurons : j), there = i < size ? i : size - 1;  // beyond: unused
      load_floats<kWhole>(w[j], (up ? a.wu : a.w1) + (e * size + there) * a.d_in + k, a.d_in - k);
    }
#pragma unroll
    for (int n = 0; n < kRows; ++n) {
      if (kRows > 1 && !(chosen >> n & 1u)) continue;  // one row chose, or nothing is done: no branch
      float x[kChunk];
      load_floats<kWhole>(x, a.x + n * a.x_stride + k, a.d_in - k);
#pragma unroll
      for (int j = 0; j < kWarpLines; ++j)
#pragma unroll
        for (int q = 0; q < kChunk; ++q) sums[j][n] += w[j][q] * x[q];
    }
  }
  with_activation(a.activation, [&](auto activate) {
#pragma unroll
    for (int n = 0; n < kRows; ++n) {
      if (!(chosen >> n & 1u)) continue;
      float z[kWarpLines];
#pragma unroll
      for (int j = 0; j < kWarpLines; ++j) z[j] = warp_sum(sums[j][n]);
      if (lane != 0) continue;
#pragma unroll
      for (int j = 0; j < kNeurons; ++j) {
        const int64_t neuron = e * size + first + j;
        if (first + j >= size) continue;
        float h = activate(z[j] + (a.b1 ? to_float(a.b1[neuron]) : 0.0f));
        if (kGated) h *= z[j + kNeurons] + (a.bu ? to_float(a.bu[neuron]) : 0.0f);
        hidden[n * a.hidden + neuron] = h;
      }
    }
  });
}

constexpr int kDecodeThreads = 64;     // of a block of decode_columns: one chunk of columns each
constexpr int kMostSplitExperts = 64;  // as plan_of gives them

/// Which rows chose each expert of the split, a bit each; ends with a barrier.
template <int kRows>
D2DMOE_DEVICE void chosen_rows(const uint8_t* mask, int64_t rows, int64_t experts, int64_t first,
                               int64_t count, uint8_t (&flags)[kMostSplitExperts][kRows]) {
  for (int64_t i = threadIdx.x; i < count * kRows; i += blockDim.x) {
    const int64_t n = i / count, e = first + i % count;
    flags[i % count][n] = n < rows && e < experts && mask[n * experts + e] != 0;
  }
  __syncthreads();
}

/// sums[n] += hidden[n, i …] w2t[i …, column …] for the next kAtOnce neurons, whose loads are under way
/// together.
template <bool kWhole, int kAtOnce, class T, int kRows>
D2DMOE_DEVICE void add_neurons(float (&sums)[kRows][kPerChunk<T>], const TypedMlpArgs<T>& a,
                               const float* hidden, int64_t i, int64_t column, uint32_t chosen) {
  float w[kAtOnce][kPerChunk<T>];
#pragma unroll
  for (int u = 0; u < kAtOnce; ++u)
    load_floats<kWhole>(w[u], a.w2t + (i + u) * a.d_out + column, a.d_out - column);
#pragma unroll
  for (int n = 0; n < kRows; ++n) {
    if (kRows > 1 && !(chosen >> n & 1u)) continue;
    float h[kAtOnce];
#pragma unroll
    for (int u = 0; u < kAtOnce; ++u) h[u] = hidden[n * a.hidden + i + u];
#pragma unroll
    for (int u = 0; u < kAtOnce; ++u)
#pragma unroll
      for (int q = 0; q < kPerChunk<T>; ++q) sums[n][q] += h[u] * w[u][q];
  }
}

/// Grid: (stretches of kDecodeThreads chunks of columns, splits). partial[split, n] is written when row n
/// chose an expert of the split.
/// @tparam kWhole  rows of w2t are whole chunks
template <class T, bool kWhole, int kRows>
__global__ void __launch_bounds__(kDecodeThreads)
    decode_columns(TypedMlpArgs<T> a, const float* hidden, int64_t experts_per_split, int64_t parts,
                   float* partial) {
  __shared__ uint8_t flags[kMostSplitExperts][kRows];
  let_next_start();
  const int64_t size = a.hidden / a.experts, first = blockIdx.y / parts * experts_per_split;
  const int64_t part = blockIdx.y % parts, from = part * size / parts, to = (part + 1) * size / parts;
  chosen_rows<kRows>(a.mask, a.rows, a.experts, first, experts_per_split, flags);  // older than `hidden`
  wait_for_previous();
  constexpr int kChunk = kPerChunk<T>;
  const int64_t column = (static_cast<int64_t>(blockIdx.x) * kDecodeThreads + threadIdx.x) * kChunk;
  if (column >= a.d_out) return;

  float sums[kRows][kChunk] = {};
  uint32_t any = 0;
  for (int64_t e = 0; e < experts_per_split; ++e) {
    uint32_t chosen = 0;
#pragma unroll
    for (int n = 0; n < kRows; ++n) chosen |= static_cast<uint32_t>(flags[e][n]) << n;
    if (chosen == 0) continue;
    any |= chosen;
    const int64_t begin = (first + e) * size + from, end = (first + e) * size + to;
    constexpr int kAtOnce = kRows == 1 ? 8 : 4;
    int64_t i = begin;
    for (; i + kAtOnce <= end; i += kAtOnce) add_neurons<kWhole, kAtOnce>(sums, a, hidden, i, column, chosen);
    for (; i < end; ++i) add_neurons<kWhole, 1>(sums, a, hidden, i, column, chosen);
  }
#pragma unroll
  for (int n = 0; n < kRows; ++n) {
    if (!(any >> n & 1u)) continue;
    float* out = partial + (blockIdx.y * a.rows + n) * a.d_out + column;
#pragma unroll
    for (int q = 0; q < kChunk; ++q)
      if (column + q < a.d_out) out[q] = sums[n][q];
  }
}

constexpr int kSumColumns = 64, kSumWays = kThreads / kSumColumns;  // of a block of decode_sum

/// Grid: (stretches of kSumColumns columns, rows). Adds the splits that row n took part in: each way every
/// kSumWays-th of them in order, then the ways.
template <class T>
__global__ void __launch_bounds__(kThreads)
    decode_sum(TypedMlpArgs<T> a, int64_t splits, int64_t experts_per_split, int64_t parts,
               const float* partial) {
  __shared__ int32_t chosen[kThreads], scratch[kWarps];
  __shared__ float of_way[kSumWays][kSumColumns];
  const int64_t n = blockIdx.y;
  const int way = static_cast<int>(threadIdx.x) / kSumColumns,
            at = static_cast<int>(threadIdx.x) % kSumColumns;
  const int64_t c = static_cast<int64_t>(blockIdx.x) * kSumColumns + at;
  float sum = 0;
  for (int64_t first = 0; first < splits; first += kThreads) {
    const int64_t split = first + threadIdx.x, begin = split / parts * experts_per_split;
    bool mine = false;
    if (split < splits)
      for (int64_t e = begin; e < begin + experts_per_split && e < a.experts; ++e)
        mine |= a.mask[n * a.experts + e] != 0;
    int32_t count = 0;
    const int32_t place = sum_before(mine ? 1 : 0, scratch, &count);
    if (mine) chosen[place] = static_cast<int32_t>(split);
    __syncthreads();
    if (first == 0) wait_for_previous();  // what stands above is older
    constexpr int kAtOnce = 8;
    for (int32_t i = way; c < a.d_out && i < count; i += kAtOnce * kSumWays) {
      float v[kAtOnce];
#pragma unroll
      for (int u = 0; u < kAtOnce; ++u) {
        const int32_t j = i + u * kSumWays;
        v[u] = partial[(chosen[j < count ? j : i] * a.rows + n) * a.d_out + c];
      }
#pragma unroll
      for (int u = 0; u < kAtOnce; ++u)
        if (i + u * kSumWays < count) sum += v[u];
    }
    __syncthreads();
  }
  of_way[way][at] = sum;
  __syncthreads();
  if (way != 0 || c >= a.d_out) return;
  float all = a.b2 ? to_float(a.b2[c]) : 0.0f;
  for (int w = 0; w < kSumWays; ++w) all += of_way[w][at];
  store(&a.y[n * a.d_out + c], all);
}

}  // namespace d2dmoe::kernels::cuda::D2DMOE_SIMT
