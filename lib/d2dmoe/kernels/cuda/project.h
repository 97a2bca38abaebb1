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
  Sums<T, kA> sums;

  // What this thread brings: its chunk of every kLinesApart-th line, a step further at each call. Lines that
  // do not exist are not brought: what is read in their place reaches only sums that nobody looks at.
  struct Source {
    const T* x[kXLines];
    const T* w[kWLines];
    bool x_exists[kXLines], w_exists[kWLines];
    int left;  // elements from the chunk to the end of its line
    int to;    // its place in a stage; kLinesApart is a multiple of 8: the same in each line
  };

  D2DMOE_DEVICE Source source() const {
    const int chunk = static_cast<int>(threadIdx.x) % kLineChunks,
              line = static_cast<int>(threadIdx.x) / kLineChunks;
    const int size = static_cast<int>(a.hidden / a.experts), k = chunk * kPerChunk<T>;
    Source s;
    s.left = static_cast<int>(a.d_in) - k;
    s.to = line_chunk<kLineChunks>(line, chunk);
#pragma unroll
    for (int i = 0; i < kXLines; ++i) {
      const int r = line + i * kLinesApart;
      s.x_exists[i] = r < count;
      s.x[i] = a.x + (s.x_exists[i] ? list[r] * a.x_stride + k : 0);
    }
#pragma unroll
    for (int i = 0; i < kWLines; ++i) {
      const int j = line + i * kLinesApart;
      const Line l = line_of<kGated>(j);
      const int64_t neuron = first_neuron + l.neuron;
      s.w_exists[i] = j < kWidth && neuron < size;
      s.w[i] = (l.up ? a.wu : a.w1) +
               (s.w_exists[i] ? (static_cast<int64_t>(expert) * size + neuron) * a.d_in + k : 0);
    }
    return s;
  }

  D2DMOE_DEVICE void bring_step(Source& s, Shared stage) const {
    const Shared to = stage.at(s.to);
    const int some = in_chunk<T>(s.left);
#pragma unroll
    for (int i = 0; i < kXLines; ++i) {
      if (s.x_exists[i]) bring<kAligned>(to.at(i * kLinesApart * kLineChunks), s.x[i], some);
      s.x[i] += kStep<T>;
    }
#pragma unroll
    for (int i = 0; i < kWLines; ++i) {
      if (s.w_exists[i]) bring<kAligned>(to.at((kTilePairs + i * kLinesApart) * kLineChunks), s.w[i], some);
      s.w[i] += kStep<T>;
    }
    s.left -= kStep<T>;
  }

  template <bool kChecked>
  D2DMOE_DEVICE void multiply_all(Shared stages) {
    const int warp = static_cast<int>(threadIdx.x) / 32, down = warp / kAcross, across = warp % kAcross;
    // A warp's fragments lie kDown apart, so that a short tile is work for all warps.
    const int live = (count - 16 * down + 16 * kDown - 1) / (16 * kDown);
    const int at_a = place_of_a<kLineChunks>(16 * down),
              at_b = kTilePairs * kLineChunks + place_of_b<kLineChunks>(32 * across);
    sums.clear();
    Source from = source();
    const int steps = static_cast<int>(tiles(a.d_in, kStep<T>));
    __syncthreads();  // the stages may still be read for the tile before
    for (int s = 0; s < kStages - 1; ++s) {
      if (s < steps) bring_step(from, stages.at(s * kStageChunks));
      copies_commit();
    }
    for (int s = 0; s < steps; ++s) {
      copies_wait<kStages - 2>();
      __syncthreads();
      if (s + kStages - 1 < steps) bring_step(from, stages.at((s + kStages - 1) % kStages * kStageChunks));
      copies_commit();
      const Shared stage = stages.at(s % kStages * kStageChunks);
      if constexpr (kChecked)  // seldom
        multiply_lines<T, true, kA, 16 * kDown>(sums, stage, stage, at_a, at_b);
      else
        multiply_step<kA>(stage, at_a, at_b, live);
    }
    copies_wait<0>();
  }

  // By as many fragments as are live: no test within.
  template <int kLive>
  D2DMOE_DEVICE void multiply_step(Shared stage, int at_a, int at_b, int live) {
    if constexpr (kLive > 0) {
      if (live >= kLive)
        multiply_lines<T, false, kLive, 16 * kDown>(sums, stage, stage, at_a, at_b);
      else
        multiply_step<kLive - 1>(stage, at_a, at_b, live);
    }
  }

  // Activations of this lane, two neighbouring neurons at a time; what lies beyond S falls into the padding.
  // @return  whether all are finite
  template <class Activate>
  D2DMOE_DEVICE bool write(T* hidden, int64_t stride, Activate activate) const {
    bool finite = true;
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
            float v = activate(sums.whole[f][j][2 * r + c] + b1[c]);
            if (kGated) v *= sums.whole[f][j + 2][2 * r + c] + bu[c];
            store(&h.of[c], v);
            finite &= i + c >= size || v - v == 0;
          }
          *reinterpret_cast<Pair*>(hidden + pair * stride + i) = h;
        }
    }
    return finite;
  }
};

/// Any number of blocks: each takes every gridDim.x-th (tile, group of neurons), as many as there turned out
/// to be.
/// @param hidden  [pairs, stride]
template <class T, bool kGated, bool kAligned, int kWidth>
__global__ void __launch_bounds__(kThreads, (kProjectBlocks<T, kWidth>))
    project(TypedMlpArgs<T> a, Lists l, T* hidden, int64_t stride) {
  __shared__ int32_t again[2];
  uint8_t* shared = dynamic_shared();
  const Shared stages = {reinterpret_cast<Chunk*>(shared), kept_shared_address(shared)};
  int turn = 0;
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
    const auto write = [&] {
      bool finite = true;
      with_activation(a.activation,
                      [&](auto activate) { finite = t.write(hidden + first * stride, stride, activate); });
      return finite;
    };
    if constexpr (sizeof(T) != 4) {
      t.template multiply_all<false>(stages);
      write();
    } else {
      // What came out infinite or NaN is done again with an eye on infinite factors.
      bool checked = false;
      do {
        if (checked)
          t.template multiply_all<true>(stages);
        else
          t.template multiply_all<false>(stages);
        if (threadIdx.x == 0) again[turn] = 0;
        __syncthreads();
        if (!write() && !checked) again[turn] = 1;
        __syncthreads();
        checked = again[turn] != 0;
        turn ^= 1;  // the flag may still be read
      } while (checked);
    }
  }
}

}  // namespace d2dmoe::kernels::cuda::D2DMOE_SIMT
