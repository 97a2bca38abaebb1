#pragma once

#include "d2dmoe/kernels/cuda/lists.h"
#include "d2dmoe/kernels/cuda/tile.h"

/// The second product, added up per row. A block owns the outputs of a band of rows and kColumns columns, in
/// shared memory, and walks the experts in order: their pairs within the band lie side by side in `hidden`,
/// so each expert is one small product whose rows are then added to where they belong. Every output element
/// is summed in the same order at every run, whichever rows stand beside it, without atomics.
namespace d2dmoe::kernels::cuda::D2DMOE_SIMT {

/// The pairs of one expert within a band.
struct Item {
  int32_t expert, first, count;
};

// Float32 keeps twice the sums in registers, and works its operands out for fewer warps.
template <class T>
constexpr int kCombineThreads = sizeof(T) == 4 ? 256 : 512;
constexpr int kItems = 512;               // listed at a time: 6 KiB
constexpr int kSumsApart = kColumns + 8;  // floats from row to row: neighbouring rows start 8 banks apart
// Chunks of a stage: lines of activations, no more than the band has rows, then of weights.
D2DMOE_HOST_DEVICE constexpr int activation_chunks(int64_t band_rows) {
  return static_cast<int>(band_rows < kTilePairs ? band_rows : kTilePairs) * kWideChunks;
}
D2DMOE_HOST_DEVICE constexpr int combine_chunks(int64_t band_rows) {
  return activation_chunks(band_rows) + kColumns * kWideChunks;
}
constexpr int combine_shared(int64_t band_rows, int stages) {
  return static_cast<int>(band_rows) * kSumsApart * 4 + stages * combine_chunks(band_rows) * 16 +
         kItems * static_cast<int>(sizeof(Item));
}

/// Lists the experts first … first + kItems - 1 that have pairs in the band, in order. Ends with a barrier.
/// @return  how many
template <int kBlockThreads>
D2DMOE_DEVICE int list_items(const Lists& l, int64_t band, int64_t first, int64_t experts, Item* items) {
  __shared__ int32_t scratch[kBlockThreads / 32];
  int32_t found = 0;
  for (int64_t from = first; from < first + kItems && from < experts; from += kBlockThreads) {
    const int64_t e = from + threadIdx.x;
    int32_t begin = 0, count = 0, all = 0;
    if (e < experts) {
      begin = l.before[band * experts + e];
      count = l.before[(band + 1) * experts + e] - begin;
    }
    const int32_t at = found + sum_before<kBlockThreads / 32>(count > 0 ? 1 : 0, scratch, &all);
    if (count > 0) items[at] = {static_cast<int32_t>(e), l.offsets[e] + begin, count};
    found += all;
  }
  __syncthreads();
  return found;
}

template <class T, bool kAligned>
struct Band {
  static constexpr int kWarpsAcross = kColumns / 32, kDown = kCombineThreads<T> / 32 / kWarpsAcross;
  static constexpr int kA = kTilePairs / 16 / kDown;  // fragments of 16 pairs of a warp, kDown apart
  static constexpr int kChunksAcross = kColumns / kPerChunk<T>;
  static constexpr int kPairsApart =
      kCombineThreads<T> / kWideChunks;  // lines that a thread brings a chunk of
  static constexpr int kNeuronsApart = kCombineThreads<T> / kChunksAcross;
  static constexpr int kPairLines = kTilePairs / kPairsApart, kNeuronLines = kWideStep<T> / kNeuronsApart;
  static_assert(kWideStep<T> * kChunksAcross == kColumns * kWideChunks, "chunks of weights in a stage");

  const TypedMlpArgs<T>& a;
  const T* hidden;
  int64_t stride, first_row, first_column;
  const Item* items;
  int item_count, size;
  const int32_t* list;  // rows of all pairs
  float* sums;          // [band_rows, kSumsApart]
  Shared stages;
  int stage_count;         // 2 or 3
  int for_weights, apart;  // chunks from a stage's start to its weights, to the next stage

  // What this thread brings next, a step further at each call: a chunk of every kPairsApart-th line of
  // activations and of every kNeuronsApart-th of weights.
  struct Source {
    const T *hidden, *w;
    int left;                         // neurons of the expert from this step on
    int item, pair;                   // pair: of the item, the first of kTilePairs
    int pairs;                        // of the item from this thread's first line on
    int count;                        // pairs of the item
    int line, chunk, neuron, column;  // this thread's first line and chunk of activations; of weights
    int columns;                      // that exist, from this thread's chunk on
    int to_pair, to_neuron;           // places in a stage
  };

  D2DMOE_DEVICE Source source() const {
    const int thread = static_cast<int>(threadIdx.x);
    Source s = {};
    s.line = thread / kWideChunks, s.chunk = thread % kWideChunks * kPerChunk<T>;
    s.neuron = thread / kChunksAcross, s.column = thread % kChunksAcross * kPerChunk<T>;
    s.columns = static_cast<int>(a.d_out - first_column) - s.column;
    s.to_pair = line_chunk<kWideChunks>(s.line, thread % kWideChunks);
    s.to_neuron = for_weights + column_chunk<T>(s.neuron, thread % kChunksAcross);
    start(s);
    return s;
  }

  D2DMOE_DEVICE void start(Source& s) const {
    if (s.item >= item_count) return;
    const Item item = items[s.item];
    s.count = item.count;
    s.pairs = item.count - s.pair - s.line;
    s.left = size;
    s.hidden = hidden + (s.pairs > 0 ? (item.first + s.pair + s.line) * stride + s.chunk : 0);
    s.w = a.w2t + (static_cast<int64_t>(item.expert) * size + s.neuron) * a.d_out + first_column + s.column;
  }

  // Columns and pairs that do not exist are not brought: what is read in their place reaches only sums that
  // nobody looks at. Neurons that do not are zeros.
  D2DMOE_DEVICE void bring_next(Source& s, Shared stage) const {
    static_assert(kPairsApart % 8 == 0 && kNeuronsApart % 8 == 0, "the same place in each line");
    if (s.item < item_count) {
      const int needed = looked_at<T>(s.left);
      if (s.chunk < needed) {
        const int some = in_chunk<T>(s.left - s.chunk);
#pragma unroll
        for (int i = 0; i < kPairLines; ++i)
          if (i * kPairsApart < s.pairs)
            bring<true>(stage.at(s.to_pair + i * kPairsApart * kWideChunks),
                        s.hidden + i * kPairsApart * stride, some);
      }
      if (s.columns > 0) {
#pragma unroll
        for (int i = 0; i < kNeuronLines; ++i) {
          const int neuron = s.neuron + i * kNeuronsApart;
          if (neuron >= needed) break;
          const bool exists = neuron < s.left;
          bring<kAligned>(stage.at(s.to_neuron + i * kNeuronsApart * kChunksAcross),
                          exists ? s.w + i * kNeuronsApart * a.d_out : a.w2t,
                          exists ? in_chunk<T>(s.columns) : 0);
        }
      }
      s.hidden += kWideStep<T>;
      s.w += kWideStep<T> * a.d_out;
      s.left -= kWideStep<T>;
      if (s.left <= 0) {
        s.pair += kTilePairs;
        if (s.pair >= s.count) ++s.item, s.pair = 0;
        start(s);
      }
    }
    copies_commit();
  }

  // The rows of this lane's pairs; -1: none.
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
        rows.of[f][r] = item < item_count && pair < items[item].count ? list[items[item].first + pair] : -1;
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
        Two* to =
            reinterpret_cast<Two*>(sums + (rows.of[f][r] - static_cast<int32_t>(first_row)) * kSumsApart +
                                   32 * across + 2 * (lane % 4));
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

  // By as many fragments as are live: no test within.
  template <bool kChecked, int kLive>
  D2DMOE_DEVICE void multiply_step(Sums<T, kA>& of, Shared stage, int at_a, int at_b, int live,
                                   int left) const {
    if constexpr (kLive > 0) {
      if (live >= kLive || (kChecked && live > 0))
        multiply_columns<T, kChecked, kLive, 16 * kDown>(of, stage, stage.at(for_weights), at_a, at_b, left);
      else if constexpr (!kChecked)
        multiply_step<kChecked, kLive - 1>(of, stage, at_a, at_b, live, left);
    }
  }

  /// All items. Two additions to one row are always a barrier apart: every product starts with one.
  /// @tparam kChecked  factors may be infinite
  template <bool kChecked>
  D2DMOE_DEVICE void walk() const {
    const int warp = static_cast<int>(threadIdx.x) / 32, down = warp / kWarpsAcross,
              across = warp % kWarpsAcross;
    const int at_a = place_of_a<kWideChunks>(16 * down), at_b = place_of_columns(32 * across, T{});
    Source ahead = source();
    for (int s = 0; s < stage_count - 1; ++s) bring_next(ahead, stages.at(s * apart));
    int reading = 0, writing = stage_count - 1;
    Rows next = rows_of(0, 0, down);
    for (int i = 0; i < item_count; ++i) {
      const int32_t count = items[i].count;
      for (int32_t first = 0; first < count; first += kTilePairs) {
        const Rows rows = next;
        const bool more = first + kTilePairs < count;
        next = rows_of(more ? i : i + 1, more ? first + kTilePairs : 0, down);  // there when it is needed
        const int live = (count - first - 16 * down + 16 * kDown - 1) / (16 * kDown);
        Sums<T, kA> of;
        of.clear();
        for (int left = size; left > 0; left -= kWideStep<T>) {
          if (stage_count == 3)
            copies_wait<1>();
          else
            copies_wait<0>();
          __syncthreads();
          bring_next(ahead, stages.at(writing * apart));
          multiply_step<kChecked, kA>(of, stages.at(reading * apart), at_a, at_b, live, left);
          reading = reading + 1 == stage_count ? 0 : reading + 1;
          writing = writing + 1 == stage_count ? 0 : writing + 1;
        }
        add(of.whole, rows, across);
      }
    }
    copies_wait<0>();
    __syncthreads();
  }
};

template <class T>
D2DMOE_DEVICE void start_sums(float* sums, const TypedMlpArgs<T>& a, int band_rows, int64_t first_column) {
  for (int i = static_cast<int>(threadIdx.x); i < band_rows * kColumns; i += kCombineThreads<T>) {
    const int64_t c = first_column + i % kColumns;
    sums[i / kColumns * kSumsApart + i % kColumns] = a.b2 && c < a.d_out ? to_float(a.b2[c]) : 0.0f;
  }
}

/// @return  whether all that this thread wrote is finite
template <class T, bool kAligned>
D2DMOE_DEVICE bool write_sums(const float* sums, const TypedMlpArgs<T>& a, int band_rows, int64_t first_row,
                              int64_t first_column) {
  constexpr int kChunksAcross = kColumns / kPerChunk<T>;
  struct alignas(16) Elements {
    T of[kPerChunk<T>];
  };
  bool finite = true;
  for (int i = static_cast<int>(threadIdx.x); i < band_rows * kChunksAcross; i += kCombineThreads<T>) {
    const int64_t n = first_row + i / kChunksAcross;
    const int c = i % kChunksAcross * kPerChunk<T>;
    const int some = in_chunk<T>(static_cast<int>(a.d_out - first_column) - c);
    if (n >= a.rows || some == 0) continue;
    const Chunk* from = reinterpret_cast<const Chunk*>(sums + i / kChunksAcross * kSumsApart + c);
    Elements v;
#pragma unroll
    for (int w = 0; w < kPerChunk<T> / 4; ++w) {
      const Chunk four = from[w];
#pragma unroll
      for (int q = 0; q < 4; ++q) {
        const float sum = __uint_as_float(four.word[q]);
        finite &= 4 * w + q >= some || sum - sum == 0;
        store(&v.of[4 * w + q], sum);
      }
    }
    T* to = a.y + n * a.d_out + first_column + c;
    if (kAligned && some == kPerChunk<T>) {
      *reinterpret_cast<Elements*>(to) = v;
    } else {
#pragma unroll
      for (int q = 0; q < kPerChunk<T>; ++q)
        if (q < some) to[q] = v.of[q];
    }
  }
  return finite;
}

/// Grid: (bands, tiles of kColumns columns). With `experts` 0 the output is the bias.
template <class T, bool kAligned>
__global__ void __launch_bounds__(kCombineThreads<T>)
    combine(TypedMlpArgs<T> a, Lists l, const T* hidden, int64_t stride, int band_rows, int stage_count,
            int64_t experts) {
  __shared__ int32_t again;
  uint8_t* shared = dynamic_shared();
  float* sums = reinterpret_cast<float*>(shared);
  uint8_t* start = shared + band_rows * kSumsApart * 4;
  const Shared stages = {reinterpret_cast<Chunk*>(start), kept_shared_address(start)};
  Item* items = reinterpret_cast<Item*>(stages.chunks + stage_count * combine_chunks(band_rows));
  const int64_t first_row = static_cast<int64_t>(blockIdx.x) * band_rows;
  const int64_t first_column = static_cast<int64_t>(blockIdx.y) * kColumns;
  const int size = static_cast<int>(a.hidden / a.experts);

  // What comes out infinite or NaN in float32 is done again with an eye on infinite factors.
  for (int round = 0; round < 2; ++round) {
    start_sums(sums, a, band_rows, first_column);
    if (threadIdx.x == 0) again = 0;
    __syncthreads();
    for (int64_t e = 0; e < experts; e += kItems) {
      const int count = list_items<kCombineThreads<T>>(l, blockIdx.x, e, experts, items);
      const Band<T, kAligned> band{a,
                                   hidden,
                                   stride,
                                   first_row,
                                   first_column,
                                   items,
                                   count,
                                   size,
                                   l.rows,
                                   sums,
                                   stages,
                                   stage_count,
                                   activation_chunks(band_rows),
                                   combine_chunks(band_rows)};
      if (sizeof(T) == 4 && round == 1)
        band.template walk<true>();
      else
        band.template walk<false>();
    }
    const bool finite = write_sums<T, kAligned>(sums, a, band_rows, first_row, first_column);
    if (sizeof(T) != 4) return;
    if (!finite) again = 1;
    __syncthreads();
    if (!again) return;
    __syncthreads();  // everybody has seen it
  }
}

}  // namespace d2dmoe::kernels::cuda::D2DMOE_SIMT
