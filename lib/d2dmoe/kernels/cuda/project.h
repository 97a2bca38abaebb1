#pragma once

#include "d2dmoe/kernels/cuda/activate.h"
#include "d2dmoe/kernels/cuda/tile.h"

/// The first product, with the activation: tiles of pairs of one expert times tiles of its neurons.
namespace d2dmoe::kernels::cuda::D2DMOE_SIMT {

/// Lines of weights in a tile of `kWidth`: gated sites split them between gate and up, 16 and 16 of each
/// warp's 32.
template <bool kGated, int kWidth>
constexpr int kTileNeurons = kGated ? kWidth / 2 : kWidth;

/// Line j of a tile: which neuron of the tile, and whether it is of wu.
struct Line {
  int neuron;
  bool up;
};
template <bool kGated>
D2DMOE_DEVICE Line line_of(int j) {
  if (!kGated) return {j, false};
  return {j / 32 * 16 + j % 16, j % 32 >= 16};
}

/// Blocks that share a multiprocessor. Float32 with the widest tile keeps more in registers than half of them
/// hold.
template <class T, int kWidth>
constexpr int kProjectBlocks = sizeof(T) == 4 && kWidth == 128 ? 1 : 2;

template <int kWidth>
constexpr int kProjectShared = kStages*(kTilePairs + kWidth) * kLineBytes;

/// One tile: `count` (1 … kTilePairs) pairs whose rows `list` gives, neurons first_neuron … of expert e.
template <class T, bool kGated, bool kAligned, int kWidth>
struct ProjectTile {
  static constexpr int kAcross = kWidth / 32, kDown = kWarps / kAcross;  // warps
  static constexpr int kA = kWidth / 32;                                 // fragments of 16 pairs of a warp
  static constexpr int kLinesApart = kThreads / kLineChunks;
  static constexpr int kStageChunks = (kTilePairs + kWidth) * kLineChunks;

  static constexpr int kXLines = kTilePairs / kLinesApart;  // lines that one thread brings
  static constexpr int kWLines = (kWidth + kLinesApart - 1) / kLinesApart;

  const TypedMlpArgs<T>& a;
  const int32_t* list;
  int count, expert, first_neuron;
  float sums[kA][4][4];

  // What this thread brings: its chunk of every kLinesApart-th line, a step further at each call. Lines that
  // do not exist stay at the start of x or the weights, of which nothing is then read.
  struct Source {
    const T* x[kXLines];
    const T* w[kWLines];
    unsigned x_exists, w_exists;  // a bit per line
    int left;                     // elements from the chunk to the end of its line
  };

  D2DMOE_DEVICE Source source() const {
    const int chunk = static_cast<int>(threadIdx.x) % kLineChunks,
              line = static_cast<int>(threadIdx.x) / kLineChunks;
    const int size = static_cast<int>(a.hidden / a.experts), k = chunk * kPerChunk<T>;
    Source s;
    s.x_exists = s.w_exists = 0;
    s.left = static_cast<int>(a.d_in) - k;
#pragma unroll
    for (int i = 0; i < kXLines; ++i) {
      const int r = line + i * kLinesApart;
      s.x[i] = r < count ? a.x + list[r] * a.x_stride + k : a.x;
      if (r < count) s.x_exists |= 1u << i;
    }
#pragma unroll
    for (int i = 0; i < kWLines; ++i) {
      const Line l = line_of<kGated>(line + i * kLinesApart);
      const int64_t neuron = first_neuron + l.neuron;
      const T* w = l.up ? a.wu : a.w1;
      const bool exists = neuron < size;
      s.w[i] = exists ? w + (static_cast<int64_t>(expert) * size + neuron) * a.d_in + k : w;
      if (exists) s.w_exists |= 1u << i;
    }
    return s;
  }

  D2DMOE_DEVICE void bring_step(Source& s, Chunk* stage) const {
    const int chunk = static_cast<int>(threadIdx.x) % kLineChunks,
              line = static_cast<int>(threadIdx.x) / kLineChunks;
    const int some = in_chunk<T>(s.left);
    // Beyond the line's end an address stays where it is: nothing is read from it.
    const int further = s.left > kStep<T> ? kStep<T> : 0;
#pragma unroll
    for (int i = 0; i < kXLines; ++i) {
      const bool exists = s.x_exists >> i & 1u;
      bring<kAligned>(&stage[line_chunk(line + i * kLinesApart, chunk)], s.x[i], exists ? some : 0);
      if (exists) s.x[i] += further;
    }
#pragma unroll
    for (int i = 0; i < kWLines; ++i) {
      const int j = line + i * kLinesApart;
      if (kWidth % kLinesApart != 0 && j >= kWidth) break;
      const bool exists = s.w_exists >> i & 1u;
      bring<kAligned>(&stage[kTilePairs * kLineChunks + line_chunk(j, chunk)], s.w[i], exists ? some : 0);
      if (exists) s.w[i] += further;
    }
    s.left -= kStep<T>;
  }

  D2DMOE_DEVICE void multiply_all(Chunk* stages) {
    const int warp = static_cast<int>(threadIdx.x) / 32, down = warp / kAcross, across = warp % kAcross;
    // A warp's fragments lie kDown apart, so that a short tile is work for all warps.
    Live live;
    live.a = (count - 16 * down + 16 * kDown - 1) / (16 * kDown);
    live.b = 0;
    for (int j = 0; j < 4; ++j)
      if (first_neuron + line_of<kGated>(32 * across + 8 * j).neuron < a.hidden / a.experts)
        live.b |= 1u << j;
#pragma unroll
    for (int i = 0; i < kA; ++i)
#pragma unroll
      for (int j = 0; j < 4; ++j)
#pragma unroll
        for (int q = 0; q < 4; ++q) sums[i][j][q] = 0;

    Source from = source();
    const int steps = static_cast<int>(tiles(a.d_in, kStep<T>));
    __syncthreads();  // the stages may still be read for the tile before
    for (int s = 0; s < kStages - 1; ++s) {
      if (s < steps) bring_step(from, stages + s * kStageChunks);
      copies_commit();
    }
    live.k =
        static_cast<int>(a.d_in);  // what is left of the line; a step looks no further than its own length
    for (int s = 0; s < steps; ++s) {
      copies_wait<kStages - 2>();
      __syncthreads();
      if (s + kStages - 1 < steps) bring_step(from, stages + (s + kStages - 1) % kStages * kStageChunks);
      copies_commit();
      const Chunk* stage = stages + s % kStages * kStageChunks;
      multiply_lines(sums, stage, 16 * down, 16 * kDown, stage + kTilePairs * kLineChunks, 32 * across, live,
                     T{});
      live.k -= kStep<T>;
    }
    copies_wait<0>();
  }

  // Activations of this lane, two neighbouring neurons at a time; what lies beyond S falls into the padding.
  template <class Activate>
  D2DMOE_DEVICE void write(T* hidden, int64_t stride, Activate activate) const {
    const int lane = static_cast<int>(threadIdx.x) % 32, warp = static_cast<int>(threadIdx.x) / 32;
    const int down = warp / kAcross, across = warp % kAcross;
    const int size = static_cast<int>(a.hidden / a.experts);
    struct alignas(2 * sizeof(T)) Pair {
      T of[2];
    };
#pragma unroll
    for (int j = 0; j < (kGated ? 2 : 4); ++j) {
      const int i = first_neuron + line_of<kGated>(32 * across + 8 * j).neuron + 2 * (lane % 4);
      if (i >= size) continue;
      float b1[2] = {0, 0}, bu[2] = {0, 0};
#pragma unroll
      for (int c = 0; c < 2; ++c)
        if (i + c < size) {
          const int64_t neuron = static_cast<int64_t>(expert) * size + i + c;
          if (a.b1) b1[c] = to_float(a.b1[neuron]);
          if (kGated && a.bu) bu[c] = to_float(a.bu[neuron]);
        }
#pragma unroll
      for (int f = 0; f < kA; ++f)
#pragma unroll
        for (int r = 0; r < 2; ++r) {
          const int pair = 16 * (down + f * kDown) + lane / 4 + 8 * r;
          if (pair >= count) continue;
          Pair h;
#pragma unroll
          for (int c = 0; c < 2; ++c) {
            float v = activate(sums[f][j][2 * r + c] + b1[c]);
            if (kGated) v *= sums[f][j + 2][2 * r + c] + bu[c];
            store(&h.of[c], v);
          }
          *reinterpret_cast<Pair*>(hidden + pair * stride + i) = h;
        }
    }
  }
};

/// Any number of blocks: each takes every gridDim.x-th (tile, group of neurons), as many as there turned out
/// to be.
/// @param hidden  [pairs, stride]
template <class T, bool kGated, bool kAligned, int kWidth>
__global__ void __launch_bounds__(kThreads, (kProjectBlocks<T, kWidth>))
    project(TypedMlpArgs<T> a, Lists l, T* hidden, int64_t stride) {
  const int groups = static_cast<int>(tiles(a.hidden / a.experts, kTileNeurons<kGated, kWidth>));
  for (int64_t i = blockIdx.x; i < static_cast<int64_t>(*l.tile_count) * groups; i += gridDim.x) {
    const Tile tile = l.tiles[i / groups];
    const int32_t first = l.offsets[tile.expert] + tile.first;
    const int32_t left = l.offsets[tile.expert + 1] - first;
    ProjectTile<T, kGated, kAligned, kWidth> t{a,
                                               l.rows + first,
                                               left < kTilePairs ? left : kTilePairs,
                                               tile.expert,
                                               static_cast<int>(i % groups) * kTileNeurons<kGated, kWidth>,
                                               {}};
    t.multiply_all(reinterpret_cast<Chunk*>(dynamic_shared()));
    with_activation(a.activation, [&](auto activate) { t.write(hidden + first * stride, stride, activate); });
  }
}

}  // namespace d2dmoe::kernels::cuda::D2DMOE_SIMT
