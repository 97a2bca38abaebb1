#pragma once

#include "d2dmoe/kernels/cuda/device.h"
#include "d2dmoe/kernels/cuda/plan.h"

/// From the mask to lists of rows, on the device: count per band of rows and expert, sum, fill.
namespace d2dmoe::kernels::cuda::D2DMOE_SIMT {

/// Sum of v over the threads of the block before this one; `total` is everybody's sum.
/// @param scratch  as many ints of shared memory as the block has warps
template <int kBlockWarps = kWarps>
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
  for (int w = 0; w < kBlockWarps; ++w) {
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
    const int64_t left = rows - s.first_row;
    const int some = left < mine ? static_cast<int>(left) : mine;
    const uint8_t* from = mask + s.first_row * experts + s.expert;
#pragma unroll
    for (int i = 0; i < 32; ++i)  // all loads under way together
      if (i < some && from[i * experts] != 0) s.chosen |= 1u << i;
  }
  return s;
}

/// Grid: (bands, groups of kListExperts experts). before[band, e] becomes the band's count.
static __global__ void __launch_bounds__(kThreads)
    count_pairs(const uint8_t* mask, int64_t rows, int64_t experts, int band_rows, int32_t* before) {
  __shared__ int32_t counts[kWarps][32];
  let_next_start();
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
static __global__ void __launch_bounds__(kThreads)
    sum_counts(int64_t experts, int bands, int tile_pairs, Lists l) {
  __shared__ int32_t scratch[kWarps];
  let_next_start();
  wait_for_previous();
  int32_t pairs = 0, tile_count = 0;
  for (int64_t first = 0; first < experts; first += kThreads) {
    const int64_t e = first + threadIdx.x;
    int32_t count = 0;
    if (e < experts) {
      constexpr int kAtOnce = 32;  // loads under way together
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
    const int32_t mine = static_cast<int32_t>(tiles(count, tile_pairs));
    const int32_t pair = pairs + sum_before(count, scratch, &all_pairs);
    const int32_t tile = tile_count + sum_before(mine, scratch, &all_tiles);
    if (e < experts) l.offsets[e] = pair;
    for (int32_t t = 0; t < mine; ++t) l.tiles[tile + t] = {static_cast<int32_t>(e), t * tile_pairs};
    pairs += all_pairs;
    tile_count += all_tiles;
  }
  if (threadIdx.x == 0) {
    l.offsets[experts] = pairs;
    *l.tile_count = tile_count;
  }
}

/// Grid as count_pairs. Writes the rows of every expert, band after band. Within a band, rows with remainders
/// 0, 1, 2 and 3 of 4 take turns as long as there are some of each: rows that a warp adds to at once then lie
/// in different banks of shared memory.
static __global__ void __launch_bounds__(kThreads)
    list_rows(const uint8_t* mask, int64_t rows, int64_t experts, int band_rows, Lists l) {
  constexpr int kRemainders = 4;
  __shared__ int32_t counts[kWarps][kRemainders][32];
  let_next_start();
  const Share s = share_of(mask, rows, experts, band_rows);  // older than the kernel before
  const int lane = static_cast<int>(threadIdx.x) % 32, warp = static_cast<int>(threadIdx.x) / 32;
#pragma unroll
  for (int m = 0; m < kRemainders; ++m) counts[warp][m][lane] = __popc(s.chosen & 0x11111111u << m);
  __syncthreads();
  wait_for_previous();
  if (s.expert >= experts) return;
  int32_t before[kRemainders] = {}, all[kRemainders] = {};
  for (int w = 0; w < kWarps; ++w)
#pragma unroll
    for (int m = 0; m < kRemainders; ++m) {
      if (w < warp) before[m] += counts[w][m][lane];
      all[m] += counts[w][m][lane];
    }
  int32_t* to =
      l.rows + l.offsets[s.expert] + l.before[static_cast<int64_t>(blockIdx.x) * experts + s.expert];
  const int mine = band_rows / kWarps;  // a multiple of 4
  for (int i = 0; i < mine; i += kRemainders)
#pragma unroll
    for (int m = 0; m < kRemainders; ++m) {
      if (!(s.chosen >> (i + m) & 1u)) continue;
      to[place_in_turns(all, m, before[m])] = static_cast<int32_t>(s.first_row + i + m);
      ++before[m];
    }
}

}  // namespace d2dmoe::kernels::cuda::D2DMOE_SIMT
