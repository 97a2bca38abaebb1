#pragma once

#include "d2dmoe/kernels/cuda/hopper/tile.h"
#include "d2dmoe/kernels/cuda/lists.h"

/// The second product on Hopper, added up per row. As in combine.h of all devices, a block owns the outputs
/// of a band of rows, here by 128 columns, and walks the experts in order; a cluster's bands share the
/// weights. Warpgroups take turns: while some multiply 64 pairs each, one adds its own to the sums.
namespace d2dmoe::kernels::cuda::hopper {

constexpr int kTurns = 2;  // warpgroups that multiply
constexpr int kCombineBlock = (1 + kTurns) * kGroup;
constexpr int kOwned = 128;              // columns of a block
constexpr int kOwnedApart = kOwned + 8;  // floats from row to row: rows r … r + 3 stand in different banks
constexpr int kBoxColumns = kLine / 2;   // of weights that a block brings, and how many of a stage's lines
constexpr int kWeightLines = kInner * (kOwned / kBoxColumns) / kCluster;
constexpr int kHiddenLines = 16;  // of activations that come at a time
// Two lists of items must fit beside six stages and the sums of 128 rows, into 227 KiB.
constexpr int kMostExperts = 440;
constexpr int kWeightsStage = kInner * kOwned * 2, kHiddenStage = kGroupPairs * kLine;
constexpr int kCombineStage = kWeightsStage + kHiddenStage;

/// The pairs of one expert in this block's band, and the products of 64 pairs that the cluster makes of them.
struct Item {
  int32_t expert, first, count, products;
};

// Stages that fit beside the sums.
constexpr int combine_stages(int64_t band_rows) {
  return band_rows > 192 ? 3 : band_rows > 128 ? 4 : 6;
}
constexpr int combine_shared(int64_t band_rows, int64_t experts) {
  return 1024 + combine_stages(band_rows) * kCombineStage + static_cast<int>(band_rows) * kOwnedApart * 4 +
         2 * static_cast<int>(experts) * static_cast<int>(sizeof(Item)) + 256;
}

constexpr int kMostShared = 227 * 1024;  // that a block of sm_90 gets
static_assert(combine_shared(64, kMostExperts) <= kMostShared &&
                  combine_shared(128, kMostExperts) <= kMostShared &&
                  combine_shared(192, kMostExperts) <= kMostShared &&
                  combine_shared(256, kMostExperts) <= kMostShared,
              "every height of bands fits");

/// Maps of w2t, [hidden, d_out], boxes of kBoxColumns columns by kWeightLines lines; and of the
/// activations, [pairs, stride], boxes of kInner columns by kGroupPairs or by kHiddenLines lines.
struct CombineMaps {
  CUtensorMap w2t, hidden, some_hidden;
};

/// Lists the experts that have pairs in a band of the cluster, in order. One warp.
/// @param own  this block's band; one beyond the last has no pairs
/// @return     how many
D2DMOE_HOPPER int list_items(const Lists& l, int64_t own, int64_t bands, int64_t experts, Item* items) {
  const int64_t first = own / kCluster * kCluster;
  const uint32_t lane = threadIdx.x % 32;
  int listed = 0;
  for (int64_t from = 0; from < experts; from += 32) {
    const int64_t e = from + lane;
    int32_t begin = 0, count = 0, most = 0;
    if (e < experts) {
      int32_t at[kCluster + 1];
#pragma unroll
      for (int b = 0; b <= kCluster; ++b)
        at[b] = l.before[(first + b < bands ? first + b : bands) * experts + e];
#pragma unroll
      for (int b = 0; b < kCluster; ++b) {
        const int32_t here = at[b + 1] - at[b];
        if (first + b == own) begin = at[b], count = here;
        most = here > most ? here : most;
      }
    }
    const uint32_t votes = __ballot_sync(0xffffffffu, most > 0);
    if (most > 0)
      items[listed + __popc(votes & ((1u << lane) - 1u))] = {static_cast<int32_t>(e), l.offsets[e] + begin,
                                                             count, (most + kGroupPairs - 1) / kGroupPairs};
    listed += __popc(votes);
  }
  return listed;
}

/// The items of a tile, two tiles in turn: while one is walked, the next is listed and its weights brought.
struct TileItems {
  Barrier listed, walked;
  int64_t count;
};

/// What the warpgroup whose turn it is waits for, of the product before. One for each warpgroup.
struct Turns {
  Barrier arrived[kTurns];  ///< all that was brought for it is here: each warp of the one before arrives
  Barrier added[kTurns];    ///< it is added to the sums: each thread, as compute-sanitizer follows no warps
};

template <class T, int kStages>
struct Walk {
  static constexpr int kWalked = 1;  // named barrier: all that multiply have come so far
  const TypedMlpArgs<T>& a;
  const Lists& l;
  int64_t bands;
  int band_rows, size, steps;
  int64_t begin, end, apart;  // tiles of this cluster: cluster bands go round faster than columns
  uint8_t* stages;
  float* sums;
  Item* items;  // [2, experts]
  TileItems* of_tile;
  Ring<kStages>& ring;
  Turns& turns;

  D2DMOE_HOPPER int64_t own_band(int64_t tile) const {
    return tile % tiles(bands, kCluster) * kCluster + cluster_rank();
  }
  D2DMOE_HOPPER int first_column(int64_t tile) const {
    return static_cast<int>(tile / tiles(bands, kCluster)) * kOwned;
  }

  // One warp; its first lane brings.
  D2DMOE_HOPPER void bring_all(const CombineMaps& maps) const {
    const int rank = static_cast<int>(cluster_rank());
    Place<kStages> at;
    uint32_t listed = 0;  // tiles so far
    for (int64_t tile = begin; tile < end; tile += apart, ++listed) {
      TileItems& mine = of_tile[listed % 2];
      if (listed >= 2) wait(&mine.walked, (listed / 2 - 1) & 1);
      Item* list = items + listed % 2 * a.experts;
      const int count = list_items(l, own_band(tile), bands, a.experts, list);
      __syncwarp();
      if (threadIdx.x == 0) {
        mine.count = count;
        arrive(&mine.listed);
        const int column = first_column(tile), line = rank * kWeightLines;  // 64 columns after the other
        for (int i = 0; i < count; ++i) {
          const Item item = list[i];
          for (int p = 0; p < item.products; ++p) {
            const int left = item.count - p * kGroupPairs;
            const int boxes = left <= 0            ? 0
                              : left < kGroupPairs ? (left + kHiddenLines - 1) / kHiddenLines
                                                   : kGroupPairs / kHiddenLines;
            for (int step = 0; step < steps; ++step, at.next()) {
              wait_empty(ring, at);
              uint8_t* stage = stages + at.stage * kCombineStage;
              Barrier* full = &ring.full[at.stage];
              arrive_expecting(full, static_cast<uint32_t>(kWeightsStage + boxes * kHiddenLines * kLine));
              copy_box_to(kAllBlocks, stage + line * kLine, &maps.w2t, column + line / kInner * kBoxColumns,
                          item.expert * size + step * kInner + line % kInner, full);
              const int pair = item.first + p * kGroupPairs;
              if (left >= kGroupPairs)
                copy_box(stage + kWeightsStage, &maps.hidden, step * kInner, pair, full);
              else
                for (int b = 0; b < boxes; ++b)
                  copy_box(stage + kWeightsStage + b * kHiddenLines * kLine, &maps.some_hidden, step * kInner,
                           pair + b * kHiddenLines, full);
            }
          }
        }
      }
      __syncwarp();
    }
  }

  // Adds this lane's products to the sums of the rows that its pairs are of.
  D2DMOE_HOPPER void add(const float (&of)[64], const int32_t (&rows)[2], int32_t first_row) const {
    const int lane = static_cast<int>(threadIdx.x) % 32;
#pragma unroll
    for (int r = 0; r < 2; ++r) {
      if (rows[r] < 0) continue;
      float* to = sums + (rows[r] - first_row) * kOwnedApart + 2 * (lane % 4);
#pragma unroll
      for (int j = 0; j < kOwned / 8; ++j) {
        float2* at = reinterpret_cast<float2*>(to + 8 * j);
        float2 v = *at;
        v.x += of[4 * j + 2 * r];
        v.y += of[4 * j + 2 * r + 1];
        *at = v;
      }
    }
  }

  // All that multiply: the sums start as the bias.
  D2DMOE_HOPPER void start_sums(int column) const {
    const int thread = static_cast<int>(threadIdx.x) - kGroup;
    const int c = thread % 32 * 4;  // of this thread, in every row it writes
    float b2[4];
#pragma unroll
    for (int q = 0; q < 4; ++q)
      b2[q] = a.b2 && column + c + q < a.d_out ? device::to_float(a.b2[column + c + q]) : 0.0f;
#pragma unroll 8
    for (int r = thread / 32; r < band_rows; r += kTurns * kGroup / 32)
      *reinterpret_cast<float4*>(sums + r * kOwnedApart + c) = make_float4(b2[0], b2[1], b2[2], b2[3]);
  }

  D2DMOE_HOPPER void write_sums(int64_t first_row, int column) const {
    constexpr int kChunks = kOwned / 8;
    const int thread = static_cast<int>(threadIdx.x) - kGroup;
    const int c = thread % kChunks * 8;
    if (column + c >= a.d_out) return;
#pragma unroll 4
    for (int r = thread / kChunks; r < band_rows; r += kTurns * kGroup / kChunks) {
      if (first_row + r >= a.rows) break;
      const float4 low = *reinterpret_cast<const float4*>(sums + r * kOwnedApart + c),
                   high = *reinterpret_cast<const float4*>(sums + r * kOwnedApart + c + 4);
      *reinterpret_cast<Chunk*>(a.y + (first_row + r) * a.d_out + column + c) = {
          {pack<T>(low.x, low.y), pack<T>(low.z, low.w), pack<T>(high.x, high.y), pack<T>(high.z, high.w)}};
    }
  }

  D2DMOE_HOPPER void multiply_all() const {
    const int group = static_cast<int>(threadIdx.x) / kGroup - 1;
    Place<kStages> at;
    int turn = 0;    // products so far, of all warpgroups
    int walked = 0;  // tiles so far
    for (int64_t tile = begin; tile < end; tile += apart, ++walked) {
      const int64_t first_row = own_band(tile) * band_rows;
      start_sums(first_column(tile));
      TileItems& listed = of_tile[walked % 2];
      wait(&listed.listed, walked / 2 & 1);
      meet(kWalked, kTurns * kGroup);
      multiply_tile(items + walked % 2 * a.experts, static_cast<int>(listed.count), first_row, group, at,
                    turn);
      meet(kWalked, kTurns * kGroup);
      if (threadIdx.x == kGroup) arrive(&listed.walked);
      write_sums(first_row, first_column(tile));
      meet(kWalked, kTurns * kGroup);
    }
  }

  D2DMOE_HOPPER void multiply_tile(const Item* list, int count, int64_t first_row, int group,
                                   Place<kStages>& at, int& turn) const {
    const int lane = static_cast<int>(threadIdx.x) % 32, warp = static_cast<int>(threadIdx.x) / 32 % 4;
    for (int i = 0; i < count; ++i) {
      const Item item = list[i];
      for (int p = 0; p < item.products; ++p, ++turn) {
        if (turn % kTurns != group) {
          for (int step = 0; step < steps; ++step) at.next();
          continue;
        }
        const int left = item.count - p * kGroupPairs;
        int32_t rows[2];
#pragma unroll
        for (int r = 0; r < 2; ++r) {
          const int pair = 16 * warp + lane / 4 + 8 * r;
          rows[r] = pair < left ? l.rows[item.first + p * kGroupPairs + pair] : -1;  // looked at in `add`
        }
        // All that was brought for earlier products has arrived: a stage's parity now means this round.
        const auto wait_before = [&](Barrier(&of)[kTurns]) {
          if (turn > 0) wait(&of[group], static_cast<uint32_t>((turn - 1) / kTurns & 1));
        };
        const int next = (group + 1) % kTurns;
        const auto tell_arrived = [&] {
          __syncwarp();
          if (lane == 0) arrive(&turns.arrived[next]);
        };
        wait_before(turns.arrived);
        if (left <= 0) {  // only other blocks have pairs
          for (int step = 0; step < steps; ++step, at.next()) {
            wait_full(ring, at);
            release(ring, at.stage);
          }
          tell_arrived();
          wait_before(turns.added);
          arrive(&turns.added[next]);
          continue;
        }
        float of[64];
#pragma unroll
        for (int s = 0; s < 64; ++s) of[s] = 0;
        for (int step = 0; step < steps; ++step, at.next()) {
          wait_full(ring, at);
          if (step + 1 == steps) tell_arrived();
          const uint8_t* stage = stages + at.stage * kCombineStage;
          hold(of);
          products_begin();
#pragma unroll
          for (int k = 0; k < kInner / 16; ++k)
            multiply<true>(of, operand(stage + kWeightsStage + 32 * k, 16, 8 * kLine),
                           operand(stage + 16 * k * kLine, kInner * kLine, 8 * kLine), true, T{});
          products_commit();
          // Others multiply meanwhile; what counts is that the stage is free soon.
          products_wait<0>();
          hold(of);
          release(ring, at.stage);
        }
        // Experts in order: the products before these have been added.
        wait_before(turns.added);
        add(of, rows, static_cast<int32_t>(first_row));
        arrive(&turns.added[next]);
      }
    }
  }
};

/// Any number of clusters: each takes every so manieth tile, kCluster bands by kOwned columns.
template <class T, int kStages>
__global__ void __cluster_dims__(kCluster) __launch_bounds__(kCombineBlock, 1)
    combine(const __grid_constant__ CombineMaps maps, TypedMlpArgs<T> a, Lists l, int64_t bands,
            int band_rows) {
  uint8_t* stages = shared_start();
  float* sums = reinterpret_cast<float*>(stages + kStages * kCombineStage);
  Item* items = reinterpret_cast<Item*>(sums + band_rows * kOwnedApart);
  auto* of_tile = reinterpret_cast<TileItems*>(items + 2 * a.experts);
  auto& ring = *reinterpret_cast<Ring<kStages>*>(of_tile + 2);
  auto& turns = *reinterpret_cast<Turns*>(&ring + 1);
  if (threadIdx.x == 0) {
    prefetch_map(&maps.w2t);
    prefetch_map(&maps.hidden);
    prefetch_map(&maps.some_hidden);
    for (int g = 0; g < kTurns; ++g) {
      barrier_init(&turns.arrived[g], kGroup / 32);
      barrier_init(&turns.added[g], kGroup);
    }
    for (int i = 0; i < 2; ++i) {
      barrier_init(&of_tile[i].listed, 1);
      barrier_init(&of_tile[i].walked, 1);
    }
    for (int s = 0; s < kStages; ++s) {
      barrier_init(&ring.full[s], 1);
      barrier_init(&ring.empty[s], kReleases);  // one warpgroup of each block reads it
    }
    barriers_ready();
  }
  device::let_next_start();
  cluster_sync();
  device::wait_for_previous();
  const int size = static_cast<int>(a.hidden / a.experts);
  const Walk<T, kStages> walk{a,
                              l,
                              bands,
                              band_rows,
                              size,
                              size / kInner,
                              blockIdx.x / kCluster,
                              tiles(bands, kCluster) * tiles(a.d_out, kOwned),
                              gridDim.x / kCluster,
                              stages,
                              sums,
                              items,
                              of_tile,
                              ring,
                              turns};
  if (threadIdx.x < 32)
    walk.bring_all(maps);
  else if (threadIdx.x >= kGroup)
    walk.multiply_all();
  __syncwarp();
  cluster_sync();  // nobody leaves while the other still sends to it
}

}  // namespace d2dmoe::kernels::cuda::hopper
