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

constexpr int kCombineThreads = 512, kCombineWarps = kCombineThreads / 32;
constexpr int kItems = kCombineThreads;   // listed at a time: 6 KiB
constexpr int kSumsApart = kColumns + 8;  // floats from row to row: neighbouring rows start 8 banks apart
constexpr int kCombineChunks =
    2 * kCombineThreads;  // of a stage: each thread brings one of activations, one of weights

constexpr int combine_shared(int64_t band_rows, int stages) {
  return static_cast<int>(band_rows) * kSumsApart * 4 + stages * kCombineChunks * 16 +
         kItems * static_cast<int>(sizeof(Item));
}

/// Lists the experts first … first + kItems - 1 that have pairs in the band, in order. Ends with a barrier.
/// @return  how many
D2DMOE_DEVICE int list_items(const Lists& l, int64_t band, int64_t first, int64_t experts, Item* items) {
  __shared__ int32_t scratch[kCombineWarps];
  const int64_t e = first + threadIdx.x;
  int32_t begin = 0, count = 0, all = 0;
  if (e < experts) {
    begin = l.before[band * experts + e];
    count = l.before[(band + 1) * experts + e] - begin;
  }
  const int32_t at = sum_before<kCombineWarps>(count > 0 ? 1 : 0, scratch, &all);
  if (count > 0) items[at] = {static_cast<int32_t>(e), l.offsets[e] + begin, count};
  __syncthreads();
  return all;
}

template <class T, bool kAligned>
struct Band {
  static constexpr int kDown = 4;  // warps over the pairs; as many over the columns, 32 each
  static constexpr int kA = kTilePairs / 16 / kDown;  // fragments of 16 pairs of a warp, kDown apart
  static constexpr int kChunksAcross = kColumns / kPerChunk<T>;
  static_assert(kTilePairs * kLineChunks == kCombineThreads && kStep<T> * kChunksAcross == kCombineThreads,
                "one chunk of each operand per thread");

  const TypedMlpArgs<T>& a;
  const T* hidden;
  int64_t stride, first_row, first_column;
  const Item* items;
  int item_count, size;
  const int32_t* list;  // rows of all pairs
  float* sums;          // [band_rows, kSumsApart]
  Chunk* stages;
  int stage_count;  // 3 or 4

  // What this thread brings next, a step further at each call.
  struct Source {
    const T *hidden, *w;
    bool exists;     // the pair
    int left;        // neurons of the expert from this step on
    int item, pair;  // pair: of the item, the first of kTilePairs
    int count;       // pairs of the item
  };

  D2DMOE_DEVICE void start(Source& s) const {
    if (s.item >= item_count) return;
    const Item item = items[s.item];
    const int line = static_cast<int>(threadIdx.x) / kLineChunks,
              chunk = static_cast<int>(threadIdx.x) % kLineChunks;
    s.count = item.count;
    s.exists = s.pair + line < item.count;
    s.left = size;
    s.hidden = hidden + (s.exists ? (item.first + s.pair + line) * stride + chunk * kPerChunk<T> : 0);
    const int inner = static_cast<int>(threadIdx.x) / kChunksAcross,
              c = static_cast<int>(threadIdx.x) % kChunksAcross;
    s.w = a.w2t + (static_cast<int64_t>(item.expert) * size + inner) * a.d_out + first_column +
          c * kPerChunk<T>;
  }

  D2DMOE_DEVICE void bring_next(Source& s, Chunk* stage) const {
    if (s.item < item_count) {
      const int line = static_cast<int>(threadIdx.x) / kLineChunks,
                chunk = static_cast<int>(threadIdx.x) % kLineChunks;
      if (s.exists)
        bring<true>(&stage[line_chunk(line, chunk)], s.hidden, in_chunk<T>(s.left - chunk * kPerChunk<T>));
      const int inner = static_cast<int>(threadIdx.x) / kChunksAcross,
                c = static_cast<int>(threadIdx.x) % kChunksAcross;
      const int columns = static_cast<int>(a.d_out - first_column) - c * kPerChunk<T>;
      // Columns that do not exist are not brought; neurons that do not are zeros.
      if (columns > 0)
        bring<kAligned>(&stage[kCombineThreads + column_chunk<T>(inner, c)], inner < s.left ? s.w : a.w2t,
                        inner < s.left ? in_chunk<T>(columns) : 0);
      s.hidden += kStep<T>;
      s.w += kStep<T> * a.d_out;
      s.left -= kStep<T>;
      if (s.left <= 0) {
        s.pair += kTilePairs;
        if (s.pair >= s.count) ++s.item, s.pair = 0;
        start(s);
      }
    }
    copies_commit();
  }

  // The rows of this lane's pairs, counted from the band's first; -1: none.
  struct Rows {
    int32_t of[kA][2];
  };
  D2DMOE_DEVICE Rows rows_of(int item, int32_t first, int down) const {
    const int lane = static_cast<int>(threadIdx.x) % 32;
    Rows rows;
#pragma unroll
    for (int f = 0; f < kA; ++f)
#pragma unroll
      for (int r = 0; r < 2; ++r) {
        const int pair = first + 16 * (down + kDown * f) + lane / 4 + 8 * r;
        rows.of[f][r] = item < item_count && pair < items[item].count
                            ? static_cast<int32_t>(list[items[item].first + pair] - first_row)
                            : -1;
      }
    return rows;
  }

  struct alignas(8) Two {
    float x, y;
  };
  // Adds this lane's sums to its rows'.
  D2DMOE_DEVICE void add(const float (&of)[kA][4][4], const Rows& rows, int across) const {
    const int lane = static_cast<int>(threadIdx.x) % 32;
#pragma unroll
    for (int f = 0; f < kA; ++f)
#pragma unroll
      for (int r = 0; r < 2; ++r) {
        if (rows.of[f][r] < 0) continue;
        Two* to = reinterpret_cast<Two*>(sums + rows.of[f][r] * kSumsApart + 32 * across + 2 * (lane % 4));
        Two v[4];
#pragma unroll
        for (int j = 0; j < 4; ++j) v[j] = to[4 * j];
#pragma unroll
        for (int j = 0; j < 4; ++j) {
          v[j].x += of[f][j][2 * r];
          v[j].y += of[f][j][2 * r + 1];
          to[4 * j] = v[j];
        }
      }
  }

  /// All items. Two additions to one row are always a barrier apart: every product starts with one.
  D2DMOE_DEVICE void walk() const {
    const int warp = static_cast<int>(threadIdx.x) / 32, down = warp / (kCombineWarps / kDown),
              across = warp % (kCombineWarps / kDown);
    const int at_a = place_of_a(16 * down), at_b = place_of_columns(32 * across, T{});
    Source ahead = {};
    start(ahead);
    for (int s = 0; s < stage_count - 1; ++s) bring_next(ahead, stages + s * kCombineChunks);
    int reading = 0, writing = stage_count - 1;
    Rows next = rows_of(0, 0, down);
    for (int i = 0; i < item_count; ++i) {
      const int32_t count = items[i].count;
      for (int32_t first = 0; first < count; first += kTilePairs) {
        const Rows rows = next;
        const bool more = first + kTilePairs < count;
        next = rows_of(more ? i : i + 1, more ? first + kTilePairs : 0, down);  // there when it is needed
        const int live = (count - first - 16 * down + 16 * kDown - 1) / (16 * kDown);
        float of[kA][4][4];
#pragma unroll
        for (int f = 0; f < kA; ++f)
#pragma unroll
          for (int j = 0; j < 4; ++j)
#pragma unroll
            for (int q = 0; q < 4; ++q) of[f][j][q] = 0;
        for (int left = size; left > 0; left -= kStep<T>) {
          if (stage_count == 4)
            copies_wait<2>();
          else
            copies_wait<1>();
          __syncthreads();
          bring_next(ahead, stages + writing * kCombineChunks);
          const Chunk* stage = stages + reading * kCombineChunks;
          reading = reading + 1 == stage_count ? 0 : reading + 1;
          writing = writing + 1 == stage_count ? 0 : writing + 1;
          static_assert(kA == 2, "as many cases");
          if (live >= 2)
            multiply_columns<T, 2, 16 * kDown>(of, stage, stage + kCombineThreads, at_a, at_b);
          else if (live == 1)
            multiply_columns<T, 1, 16 * kDown>(of, stage, stage + kCombineThreads, at_a, at_b);
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
__global__ void __launch_bounds__(kCombineThreads)
    combine(TypedMlpArgs<T> a, Lists l, const T* hidden, int64_t stride, int band_rows, int stage_count,
            int64_t experts) {
  uint8_t* shared = dynamic_shared();
  float* sums = reinterpret_cast<float*>(shared);
  Chunk* stages = reinterpret_cast<Chunk*>(shared + band_rows * kSumsApart * 4);
  Item* items = reinterpret_cast<Item*>(stages + stage_count * kCombineChunks);
  const int64_t first_row = static_cast<int64_t>(blockIdx.x) * band_rows;
  const int64_t first_column = static_cast<int64_t>(blockIdx.y) * kColumns;

  for (int i = static_cast<int>(threadIdx.x); i < band_rows * kColumns; i += kCombineThreads) {
    const int64_t c = first_column + i % kColumns;
    sums[i / kColumns * kSumsApart + i % kColumns] = a.b2 && c < a.d_out ? to_float(a.b2[c]) : 0.0f;
  }
  __syncthreads();
  const int size = static_cast<int>(a.hidden / a.experts);
  for (int64_t e = 0; e < experts; e += kItems) {
    const int count = list_items(l, blockIdx.x, e, experts, items);
    const Band<T, kAligned> band{a,     hidden, stride, first_row, first_column, items,
                                 count, size,   l.rows, sums,      stages,       stage_count};
    band.walk();
  }
  constexpr int kChunksAcross = kColumns / kPerChunk<T>;
  for (int i = static_cast<int>(threadIdx.x); i < band_rows * kChunksAcross; i += kCombineThreads) {
    const int64_t n = first_row + i / kChunksAcross;
    const int c = i % kChunksAcross * kPerChunk<T>;
    const int some = in_chunk<T>(static_cast<int>(a.d_out - first_column) - c);
    if (n >= a.rows || some == 0) continue;
    const float* from = sums + i / kChunksAcross * kSumsApart + c;
    struct alignas(16) Elements {
      T of[kPerChunk<T>];
    } v;
#pragma unroll
    for (int q = 0; q < kPerChunk<T>; ++q) store(&v.of[q], from[q]);
    T* to = a.y + n * a.d_out + first_column + c;
    if (kAligned && some == kPerChunk<T>) {
      *reinterpret_cast<Elements*>(to) = v;
    } else {
#pragma unroll
      for (int q = 0; q < kPerChunk<T>; ++q)
        if (q < some) to[q] = v.of[q];
    }
  }
}

}  // namespace d2dmoe::kernels::cuda::D2DMOE_SIMT
