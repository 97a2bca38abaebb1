#pragma once

#include "d2dmoe/kernels/cuda/device.h"
#include "d2dmoe/kernels/cuda/plan.h"

/// From the mask to lists of rows, on the device: count per band of rows and expert, sum, fill.
namespace d2dmoe::kernels::cuda::D2DMOE_SIMT {

/// Sum of v over the threads of the block before this one; `total` is everybody's sum.
/// @param scratch  kWarps ints of shared memory
D2DMOE_DEVICE int32_t sum_before(int32_t v, int32_t* scratch, int32_t* total) {
  const int lane = static_cast<int>(threadIdx.x) % 32, warp = static_cast<int>(threadIdx.x) / 32;
  int32_t sum = v;
  for (int d = 1; d < 32; d *= 2) {
    const int32_t below = __shfl_up_sync(0xffffffffu, sum, static_cast<unsigned>(d));
    if (lane >= d) sum += below;
  }
  if (lane == 31) scratch[warp] = sum;
  __syncthreads();
  int32_t before = 0, all = 0;
  for (int w = 0; w < kWarps; ++w) {
    if (w == warp) before = all;
    all += scratch[w];
  }
  __syncthreads();  // scratch may be used again
  *total = all;
  return before + sum - v;
}

/// The rows of one warp's share of a band that chose one lane's expert, a bit each.
struct Share {
  int64_t expert, first_row;
  uint32_t chosen;
};
D2DMOE_DEVICE Share share_of(const uint8_t* mask, int64_t rows, int64_t experts, int band_rows) {
  const int warp = static_cast<int>(threadIdx.x) / 32, mine = band_rows / kWarps;  // at most 32
  Share s;
  s.expert = static_cast<int64_t>(blockIdx.y) * kListExperts + threadIdx.x % 32;
  s.first_row = static_cast<int64_t>(blockIdx.x) * band_rows + warp * mine;
  s.chosen = 0;
  if (s.expert < experts) {
#pragma unroll 4
    for (int i = 0; i < mine; ++i) {
      const int64_t n = s.first_row + i;
      if (n < rows && mask[n * experts + s.expert] != 0) s.chosen |= 1u << i;
    }
  }
  return s;
}

/// Grid: (bands, groups of kListExperts experts). before[band, e] becomes the band's count.
static __global__ void __launch_bounds__(kThreads)
    count_pairs(const uint8_t* mask, int64_t rows, int64_t experts, int band_rows, int32_t* before) {
  __shared__ int32_t counts[kWarps][32];
  const Share s = share_of(mask, rows, experts, band_rows);
  const int lane = static_cast<int>(threadIdx.x) % 32, warp = static_cast<int>(threadIdx.x) / 32;
  counts[warp][lane] = __popc(s.chosen);
  __syncthreads();
  if (warp != 0 || s.expert >= experts) return;
  int32_t count = 0;
  for (int w = 0; w < kWarps; ++w) count += counts[w][lane];
  before[static_cast<int64_t>(blockIdx.x) * experts + s.expert] = count;
}

/// One block. Counts become running sums over the bands, experts get their place among the pairs, and every
/// expert's pairs are cut into tiles.
static __global__ void __launch_bounds__(kThreads) sum_counts(int64_t experts, int bands, Lists l) {
  __shared__ int32_t scratch[kWarps];
  int32_t pairs = 0, tile_count = 0;
  for (int64_t first = 0; first < experts; first += kThreads) {
    const int64_t e = first + threadIdx.x;
    int32_t count = 0;
    if (e < experts) {
      constexpr int kAtOnce = 8;  // loads under way together
      for (int b = 0; b < bands; b += kAtOnce) {
        int32_t here[kAtOnce];
#pragma unroll
        for (int i = 0; i < kAtOnce; ++i) here[i] = b + i < bands ? l.before[(b + i) * experts + e] : 0;
#pragma unroll
        for (int i = 0; i < kAtOnce; ++i) {
          if (b + i < bands) l.before[(b + i) * experts + e] = count;
          count += here[i];
        }
      }
      l.before[bands * experts + e] = count;
    }
    int32_t all_pairs = 0, all_tiles = 0;
    const int32_t mine = static_cast<int32_t>(tiles(count, kTilePairs));
    const int32_t pair = pairs + sum_before(count, scratch, &all_pairs);
    const int32_t tile = tile_count + sum_before(mine, scratch, &all_tiles);
    if (e < experts) l.offsets[e] = pair;
    for (int32_t t = 0; t < mine; ++t) l.tiles[tile + t] = {static_cast<int32_t>(e), t * kTilePairs};
    pairs += all_pairs;
    tile_count += all_tiles;
  }
  if (threadIdx.x == 0) {
    l.offsets[experts] = pairs;
    *l.tile_count = tile_count;
  }
}

/// Grid as count_pairs. Writes the rows of every expert in ascending order.
static __global__ void __launch_bounds__(kThreads)
    list_rows(const uint8_t* mask, int64_t rows, int64_t experts, int band_rows, Lists l) {
  __shared__ int32_t counts[kWarps][32];
  const Share s = share_of(mask, rows, experts, band_rows);
  const int lane = static_cast<int>(threadIdx.x) % 32, warp = static_cast<int>(threadIdx.x) / 32;
  counts[warp][lane] = __popc(s.chosen);
  __syncthreads();
  if (s.expert >= experts) return;
  int32_t at = l.offsets[s.expert] + l.before[static_cast<int64_t>(blockIdx.x) * experts + s.expert];
  for (int w = 0; w < warp; ++w) at += counts[w][lane];
  const int mine = band_rows / kWarps;
  for (int i = 0; i < mine; ++i)
    if (s.chosen >> i & 1u) l.rows[at++] = static_cast<int32_t>(s.first_row + i);
}

}  // namespace d2dmoe::kernels::cuda::D2DMOE_SIMT
