#pragma once

#include "d2dmoe/kernels/cuda/lists.h"
#include "d2dmoe/kernels/cuda/tile.h"

/// The second product, added up per row. A block owns the outputs of a band of rows and kColumns columns, in
/// shared memory, and walks the experts in order: their pairs within the band lie side by side in `hidden`,
/// so each expert is one small product whose rows are then added to where they belong. Every output element
/// is summed by the same instructions in the same order at every run, whichever rows stand beside it: no
/// atomics, no second pass.
namespace d2dmoe::kernels::cuda::D2DMOE_SIMT {

/// The pairs of one expert within a band.
struct Item {
  int32_t expert, first, count;
};

constexpr int kItems = 512;               // listed at a time: 6 KiB
constexpr int kSumsApart = kColumns + 8;  // floats from row to row: neighbouring rows start 8 banks apart
template <class T>
constexpr int kCombineChunks = kTilePairs* kLineChunks + kStep<T>* kColumns / kPerChunk<T>;  // of a stage

constexpr int combine_shared(int64_t band_rows) {
  return static_cast<int>(band_rows) * kSumsApart * 4 + kStages * kCombineChunks<float> * 16 +
         kItems * static_cast<int>(sizeof(Item));
}

/// Lists the experts first … first + kItems - 1 that have pairs in the band, in order. Ends with a barrier.
/// @return  how many
D2DMOE_DEVICE int list_items(const Lists& l, int64_t band, int64_t first, int64_t experts, Item* items) {
  __shared__ int32_t scratch[kWarps];
  int32_t found = 0;
  for (int64_t from = first; from < first + kItems && from < experts; from += kThreads) {
    const int64_t e = from + threadIdx.x;
    int32_t begin = 0, count = 0, all = 0;
    if (e < experts) {
      begin = l.before[band * experts + e];
      count = l.before[(band + 1) * experts + e] - begin;
    }
    const int32_t at = found + sum_before(count > 0 ? 1 : 0, scratch, &all);
    if (count > 0) items[at] = {static_cast<int32_t>(e), l.offsets[e] + begin, count};
    found += all;
  }
  __syncthreads();
  return found;
}

template <class T, bool kAligned>
struct Band {
  static constexpr int kA = kTilePairs / 32;  // fragments of 16 pairs of a warp; 2 warps down, 4 across
  static constexpr int kLinesApart = kThreads / kLineChunks;

  const TypedMlpArgs<T>& a;
  const T* hidden;
  int64_t stride, first_row, first_column;
  const Item* items;
  int item_count, size;
  const int32_t* list;  // rows of all pairs
  float* sums;          // [band_rows, kSumsApart]

  // Where the copies stand, some steps ahead of the products.
  struct Place {
    int item = 0;
    int32_t pair = 0;  // of the item
    int k = 0;
  };

  D2DMOE_DEVICE void bring_step(const Place& at, Chunk* stage) const {
    const Item item = items[at.item];
    const int chunk = static_cast<int>(threadIdx.x) % kLineChunks,
              line = static_cast<int>(threadIdx.x) / kLineChunks;
    const int k = at.k + chunk * kPerChunk<T>, some = in_chunk<T>(size - k);
#pragma unroll
    for (int r = line; r < kTilePairs; r += kLinesApart) {
      const bool exists = at.pair + r < item.count && some > 0;
      bring<true>(&stage[line_chunk(r, chunk)],
                  exists ? hidden + (item.first + at.pair + r) * stride + k : hidden, exists ? some : 0);
    }
    constexpr int kAcross = kColumns / kPerChunk<T>;  // chunks of a line of weights
    static_assert(kAcross * kStep<T> == kThreads, "one chunk of weights per thread");
    const int inner = static_cast<int>(threadIdx.x) / kAcross, c = static_cast<int>(threadIdx.x) % kAcross;
    const int64_t column = first_column + c * kPerChunk<T>;
    const bool exists = at.k + inner < size && column < a.d_out;
    const int64_t neuron = static_cast<int64_t>(item.expert) * size + at.k + inner;
    bring<kAligned>(&stage[kTilePairs * kLineChunks + column_chunk<T>(inner, c)],
                    exists ? a.w2t + neuron * a.d_out + column : a.w2t,
                    exists ? in_chunk<T>(static_cast<int>(a.d_out - column)) : 0);
  }

  D2DMOE_DEVICE void bring_next(Place& at, Chunk* stage) const {
    if (at.item < item_count) {
      bring_step(at, stage);
      at.k += kStep<T>;
      if (at.k >= size) {
        at.k = 0;
        at.pair += kTilePairs;
        if (at.pair >= items[at.item].count) at = {at.item + 1, 0, 0};
      }
    }
    copies_commit();
  }

  // Adds this lane's sums to the rows that `rows` names (-1: none).
  D2DMOE_DEVICE void add(const float (&of)[kA][2][4], const int32_t (&rows)[kA][2], int across) const {
    const int lane = static_cast<int>(threadIdx.x) % 32;
#pragma unroll
    for (int f = 0; f < kA; ++f)
#pragma unroll
      for (int r = 0; r < 2; ++r) {
        if (rows[f][r] < 0) continue;
        float* to = sums + rows[f][r] * kSumsApart + 16 * across + 2 * (lane % 4);
#pragma unroll
        for (int j = 0; j < 2; ++j) {
          to[8 * j] += of[f][j][2 * r];
          to[8 * j + 1] += of[f][j][2 * r + 1];
        }
      }
  }

  /// All items. Two additions to one row are always a barrier apart: every product starts with one.
  D2DMOE_DEVICE void walk(Chunk* stages) const {
    const int lane = static_cast<int>(threadIdx.x) % 32, warp = static_cast<int>(threadIdx.x) / 32;
    const int down = warp / 4, across = warp % 4;
    constexpr int kStage = kCombineChunks<T>;
    Live live;
    live.b = (first_column + 16 * across < a.d_out ? 1u : 0u) |
             (first_column + 16 * across + 8 < a.d_out ? 2u : 0u);
    Place ahead;
    for (int s = 0; s < kStages - 1; ++s) bring_next(ahead, stages + s * kStage);
    int step = 0;
    for (int i = 0; i < item_count; ++i) {
      const Item item = items[i];
      for (int32_t first = 0; first < item.count; first += kTilePairs) {
        const int32_t count = item.count - first < kTilePairs ? item.count - first : kTilePairs;
        live.a = (count - 16 * down + 31) / 32;
        float of[kA][2][4];
        int32_t rows[kA][2];
#pragma unroll
        for (int f = 0; f < kA; ++f)
#pragma unroll
          for (int r = 0; r < 2; ++r) {
            const int pair = 16 * (down + 2 * f) + lane / 4 + 8 * r;
            rows[f][r] =
                pair < count ? static_cast<int32_t>(list[item.first + first + pair] - first_row) : -1;
#pragma unroll
            for (int j = 0; j < 2; ++j) of[f][j][2 * r] = of[f][j][2 * r + 1] = 0;
          }
        for (live.k = size; live.k > 0; live.k -= kStep<T>, ++step) {
          copies_wait<kStages - 2>();
          __syncthreads();
          bring_next(ahead, stages + (step + kStages - 1) % kStages * kStage);
          const Chunk* stage = stages + step % kStages * kStage;
          multiply_columns(of, stage, 16 * down, 32, stage + kTilePairs * kLineChunks, 16 * across, live,
                           T{});
        }
        add(of, rows, across);
      }
    }
    copies_wait<0>();
    __syncthreads();
  }
};

/// Grid: (bands, tiles of kColumns columns). With `experts` 0 the output is the bias.
template <class T, bool kAligned>
__global__ void __launch_bounds__(kThreads)
    combine(TypedMlpArgs<T> a, Lists l, const T* hidden, int64_t stride, int band_rows, int64_t experts) {
  uint8_t* shared = dynamic_shared();
  float* sums = reinterpret_cast<float*>(shared);
  Chunk* stages = reinterpret_cast<Chunk*>(shared + band_rows * kSumsApart * 4);
  Item* items = reinterpret_cast<Item*>(stages + kStages * kCombineChunks<T>);
  const int64_t first_row = static_cast<int64_t>(blockIdx.x) * band_rows;
  const int64_t first_column = static_cast<int64_t>(blockIdx.y) * kColumns;

  for (int i = static_cast<int>(threadIdx.x); i < band_rows * kColumns; i += kThreads) {
    const int64_t c = first_column + i % kColumns;
    sums[i / kColumns * kSumsApart + i % kColumns] = a.b2 && c < a.d_out ? to_float(a.b2[c]) : 0.0f;
  }
  __syncthreads();
  const int size = static_cast<int>(a.hidden / a.experts);
  for (int64_t e = 0; e < experts; e += kItems) {
    const int count = list_items(l, blockIdx.x, e, experts, items);
    const Band<T, kAligned> band{a,     hidden, stride, first_row, first_column,
                                 items, count,  size,   l.rows,    sums};
    band.walk(stages);
  }
  for (int i = static_cast<int>(threadIdx.x); i < band_rows * kColumns; i += kThreads) {
    const int64_t n = first_row + i / kColumns, c = first_column + i % kColumns;
    if (n < a.rows && c < a.d_out)
      store(&a.y[n * a.d_out + c], sums[i / kColumns * kSumsApart + i % kColumns]);
  }
}

}  // namespace d2dmoe::kernels::cuda::D2DMOE_SIMT
