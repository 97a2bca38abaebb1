#pragma once

#include <cstddef>
#include <cstdint>

#include "d2dmoe/kernels/cuda/element.h"
#include "d2dmoe/kernels/expert_mlp_args.h"

/// Sizes of the CUDA kernels' tiles, the places of their working arrays and the index arithmetic that several
/// of them share: plain C++, the same on host and device.
namespace d2dmoe::kernels::cuda {

constexpr int kThreads = 256, kWarps = kThreads / 32;  // of a block; `combine` has its own
// Pairs (row, expert) of one tile: enough that a tile of weights, read from L2, is used 128 times.
constexpr int kTilePairs = 128;
// Of each row of a tile, what one step multiplies: of the first product 64 bytes, of the second 128.
constexpr int kLineChunks = 4, kWideChunks = 8;
constexpr int kLineBytes = kLineChunks * 16;
template <class T>
constexpr int kStep = kLineChunks* kPerChunk<T>;  // the same in elements
template <class T>
constexpr int kWideStep = kWideChunks* kPerChunk<T>;
// Steps in shared memory at a time. 4 stages of 128 + 128 lines are 64 KiB: two blocks fit into an A100's 164
// KiB.
constexpr int kStages = 4;        // of the first product
constexpr int kColumns = 128;     // of the output that one block of `combine` owns
constexpr int kDecodeRows = 16;   // most rows that take the decode path
constexpr int kListExperts = 32;  // experts of one block of the kernels that make lists

D2DMOE_HOST_DEVICE inline int64_t tiles(int64_t count, int64_t tile) {
  return (count + tile - 1) / tile;
}

/// Place of 16-byte chunk c of line r in a tile of lines of 4 or 8 chunks, in chunks. The eight chunks
/// (r … r + 7, c) that one matrix load reads lie in eight different groups of four banks.
template <int kChunks>
D2DMOE_HOST_DEVICE inline int line_chunk(int r, int c) {
  return r * kChunks + (c ^ (kChunks == 4 ? r >> 1 & 3 : r & 7));
}
/// The same for lines of kColumns elements, 16 or 32 chunks. Of 16 bits, the same chunk of eight lines is
/// read at a time; of float32, two neighbouring chunks of four lines.
template <class T>
D2DMOE_HOST_DEVICE inline int column_chunk(int r, int c) {
  return r * (kColumns / kPerChunk<T>)+(c ^ (sizeof(T) == 4 ? (r & 3) * 2 : r & 7));
}

/// A run of pairs of one expert, at most tile_pairs of make_lists.
struct Tile {
  int32_t expert, first;  ///< first pair, counted from the expert's first
};

/// Places of the working arrays of one call, in bytes from the workspace's start. A function of the shapes
/// alone, so the host never waits to learn what was chosen.
struct Plan {
  int64_t band_rows = 0;   ///< rows whose outputs one block of `combine` owns; a multiple of 32, at most 256
  int64_t bands = 0;       ///< ceil(rows / band_rows)
  int64_t stride = 0;      ///< elements from one pair's activations to the next: S, up to whole chunks
  int64_t most_tiles = 0;  ///< tiles of kTilePairs when everything is chosen; larger ones are fewer
  size_t before = 0;       ///< [bands + 1, experts] int32: pairs of the expert in the bands above; last: all.
                           ///< Has room for bands of kNarrowestBand rows
  size_t offsets = 0;      ///< [experts + 1] int32: first pair of the expert
  size_t rows = 0;         ///< [pairs] int32: the pair's row, by expert and band; see list_rows
  size_t tiles = 0;        ///< [most_tiles] Tile
  size_t tile_count = 0;   ///< int32
  size_t hidden = 0;       ///< [pairs, stride] elements: activations. Decode: [rows, hidden] float32
  size_t partial = 0;      ///< decode only: [splits, rows, d_out] float32
  size_t bytes = 0;
  // Decode: neurons are split among blocks, `experts_per_split` whole experts at a time, or one expert in so
  // many parts.
  int64_t splits = 0, experts_per_split = 0, parts = 0;

  bool decode() const { return splits > 0; }
};

/// Most rows of a band. Few bands waste the machine, small ones read the weights more often.
inline int64_t band_rows_for(int64_t rows) {
  return rows >= 2048 ? 256 : rows >= 1024 ? 128 : rows >= 256 ? 64 : 32;
}

/// Rows of the narrowest bands; all others have a multiple of them. The working arrays have room for as many
/// bands as this gives.
constexpr int64_t kNarrowestBand = 32;

inline Plan plan_of(const ExpertMlpArgs& a) {
  const int64_t element = a.element == Element::float32 ? 4 : 2;
  Plan p;
  size_t end = 0;
  const auto take = [&end](int64_t bytes) {
    const size_t at = end;
    end += (static_cast<size_t>(bytes) + 255) / 256 * 256;
    return at;
  };
  if (a.rows <= kDecodeRows) {
    // A block of the second product takes the neurons of one split: 64 of them keep many blocks busy and make
    // the partial sums (4 bytes per row and column) small against the weights (2 bytes per neuron and
    // column).
    constexpr int64_t kSplitNeurons = 64;
    const int64_t size = a.expert_size();
    p.experts_per_split = size >= kSplitNeurons || size == 0 ? 1 : kSplitNeurons / size;
    p.parts = size > kSplitNeurons ? tiles(size, kSplitNeurons) : 1;
    p.splits = a.experts == 0 ? 1 : tiles(a.experts, p.experts_per_split) * p.parts;
    p.hidden = take(4 * a.rows * a.hidden);
    p.partial = take(4 * p.splits * a.rows * a.d_out);
  } else {
    const int64_t chunk = 16 / element;
    p.band_rows = band_rows_for(a.rows);
    p.bands = tiles(a.rows, p.band_rows);
    p.stride = tiles(a.expert_size(), chunk) * chunk;
    p.most_tiles = a.experts * tiles(a.rows, kTilePairs);
    p.before = take(4 * (tiles(a.rows, kNarrowestBand) + 1) * a.experts);
    p.offsets = take(4 * (a.experts + 1));
    p.rows = take(4 * a.rows * a.experts);
    p.tiles = take(static_cast<int64_t>(sizeof(Tile)) * p.most_tiles);
    p.tile_count = take(4);
    p.hidden = take(element * a.rows * a.experts * p.stride);
  }
  p.bytes = end;
  return p;
}

/// The same plan with bands of other rows, a multiple of kNarrowestBand.
inline Plan with_bands(Plan p, int64_t rows, int64_t band_rows) {
  p.band_rows = band_rows;
  p.bands = tiles(rows, band_rows);
  return p;
}

/// Where the n-th of those with remainder m stands when remainders 0, 1, 2, 3 take turns.
/// @param all  how many there are of each
D2DMOE_HOST_DEVICE inline int32_t place_in_turns(const int32_t (&all)[4], int m, int32_t n) {
  int32_t at = 0;
  for (int i = 0; i < 4; ++i) {
    at += all[i] < n ? all[i] : n;
    if (i < m && all[i] > n) ++at;
  }
  return at;
}

/// What the lists' kernels leave for the others; the arrays of Plan.
struct Lists {
  int32_t *before, *offsets, *rows;
  Tile* tiles;
  int32_t* tile_count;
};

}  // namespace d2dmoe::kernels::cuda
