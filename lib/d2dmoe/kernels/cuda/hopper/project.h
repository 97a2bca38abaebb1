#pragma once

#include "d2dmoe/kernels/cuda/activate.h"
#include "d2dmoe/kernels/cuda/hopper/tile.h"

/// The first product on Hopper, with the activation: 128 pairs of one expert by 128 of its neurons a block,
/// kClusterPairs a cluster. Rows of x are gathered by cp.async, weights come as boxes.
namespace d2dmoe::kernels::cuda::hopper {

constexpr int kProjectBlock = 3 * kGroup;  // threads: a warpgroup brings, two multiply
constexpr int kBlockPairs = 2 * kGroupPairs;
constexpr int kClusterPairs = kCluster * kBlockPairs;
constexpr int kNeurons = 128;  // of a tile

template <bool kGated>
constexpr int kLines = kGated ? 2 * kNeurons : kNeurons;  // of weights: gate lines first, then up lines
template <bool kGated>
constexpr int kBoxLines = kLines<kGated> / kCluster;  // that a block brings
template <bool kGated>
constexpr int kProjectStages = kGated ? 4 : 6;
template <bool kGated>
constexpr int kProjectStage = (kBlockPairs + kLines<kGated>)*kLine;
template <bool kGated>
constexpr int kProjectShared = 1024 + kProjectStages<kGated>* kProjectStage<kGated> + 256;

/// The maps of w1 and wu, [hidden, d_in], boxes of kInner columns by kBoxLines lines.
struct ProjectMaps {
  CUtensorMap w1, wu;
};

/// One block's part of a tile.
struct Part {
  int32_t expert, first, count;  ///< first of all pairs; count may be 0
  int neuron;                    ///< of the expert
};
template <bool kGated>
D2DMOE_HOPPER Part part_of(const Lists& l, int64_t i, int groups, uint32_t rank) {
  const Tile tile = l.tiles[i / groups];
  const int32_t first = l.offsets[tile.expert] + tile.first + static_cast<int32_t>(rank) * kBlockPairs;
  const int32_t left = l.offsets[tile.expert + 1] - first;
  return {tile.expert, first,
          left < 0             ? 0
          : left < kBlockPairs ? left
                               : kBlockPairs,
          static_cast<int>(i % groups) * kNeurons};
}

template <class T, bool kGated>
struct Projection {
  static constexpr int kStages = kProjectStages<kGated>;
  static constexpr int kSums = kLines<kGated> / 2;

  const TypedMlpArgs<T>& a;
  const Lists& l;
  uint8_t* stages;
  Ring<kStages>& ring;
  int64_t begin, end, apart;  // tiles of this cluster
  int groups, steps, size;
  uint32_t rank;

  static constexpr int kLinesApart = kGroup / 8, kMine = kBlockPairs / kLinesApart;

  // The rows of x that this thread brings a chunk of, -1 for none.
  D2DMOE_HOPPER void find_rows(const Part& part, int32_t (&rows)[kMine]) const {
#pragma unroll
    for (int r = 0; r < kMine; ++r) {
      const int pair = static_cast<int>(threadIdx.x) / 8 + r * kLinesApart;
      rows[r] = pair < part.count ? l.rows[part.first + pair] : -1;
    }
  }

  D2DMOE_HOPPER void bring_all(const ProjectMaps& maps) const {
    if (begin >= end) return;
    const int thread = static_cast<int>(threadIdx.x), chunk = thread % 8, line = thread / 8;
    const int first = static_cast<int>(rank) * kBoxLines<kGated>;  // of the stage's lines
    Place<kStages> at;
    Part part = part_of<kGated>(l, begin, groups, rank);
    int32_t rows[kMine];
    find_rows(part, rows);
    for (int64_t i = begin; i < end; i += apart) {
      // Lines without a pair stay at row 0, of which nothing is read.
      const T* x[kMine];
      unsigned exists = 0;
#pragma unroll
      for (int r = 0; r < kMine; ++r) {
        x[r] = a.x + (rows[r] < 0 ? 0 : rows[r]) * a.x_stride + chunk * 8;
        if (rows[r] >= 0) exists |= 1u << r;
      }
      const int line_of_w = part.expert * size + part.neuron + first % kNeurons;
      // The next tile's rows are looked up while this one's are brought.
      if (i + apart < end) part = part_of<kGated>(l, i + apart, groups, rank);
      find_rows(part, rows);
      for (int step = 0; step < steps; ++step, at.next()) {
        wait_empty(ring, at);
        uint8_t* stage = stages + at.stage * kProjectStage<kGated>;
        Barrier* full = &ring.full[at.stage];
        if (thread == 0) {
          arrive_expecting(full, kLines<kGated> * kLine);
          copy_box_to(kAllBlocks, stage + (kBlockPairs + first) * kLine,
                      first < kNeurons ? &maps.w1 : &maps.wu, step * kInner, line_of_w, full);
        }
        const int left = static_cast<int>(a.d_in) - step * kInner - chunk * 8;
        const int bytes = left >= 8 ? 16 : left > 0 ? 2 * left : 0;
        uint8_t* to = stage + swizzled(line, chunk);
#pragma unroll
        for (int r = 0; r < kMine; ++r) {
          device::copy_async(device::shared_address(to + r * kLinesApart * kLine), x[r],
                             exists >> r & 1u ? bytes : 0);
          if (left > kInner) x[r] += kInner;  // beyond the line's end nothing is read
        }
        arrive_with_copies(full);
      }
    }
    device::copies_commit();
    device::copies_wait<0>();  // nothing is under way when the block ends
  }

  D2DMOE_HOPPER void multiply_all(T* hidden, int64_t stride) const {
    const int group = static_cast<int>(threadIdx.x) / kGroup - 1;
    Place<kStages> at;
    for (int64_t i = begin; i < end; i += apart) {
      const Part part = part_of<kGated>(l, i, groups, rank);
      if (part.count <= group * kGroupPairs) {
        for (int step = 0; step < steps; ++step, at.next()) {
          wait_full(ring, at);
          release(ring, at.stage);
        }
        continue;
      }
      float sums[kSums];
#pragma unroll
      for (int s = 0; s < kSums; ++s) sums[s] = 0;
      int before = 0;
      for (int step = 0; step < steps; ++step) {
        wait_full(ring, at);
        const uint8_t* stage = stages + at.stage * kProjectStage<kGated>;
        stores_before_products();
        hold(sums);
        products_begin();
#pragma unroll
        for (int k = 0; k < kInner / 16; ++k)
          multiply<false>(sums, operand(stage + group * kGroupPairs * kLine + 32 * k, 16, 8 * kLine),
                          operand(stage + kBlockPairs * kLine + 32 * k, 16, 8 * kLine), true, T{});
        products_commit();
        hold(sums);
        products_wait<1>();
        if (step > 0) release(ring, before);
        before = at.stage;
        at.next();
      }
      const Biases b1 = biases(a.b1, part), bu = biases(kGated ? a.bu : nullptr, part);
      products_wait<0>();
      hold(sums);
      release(ring, before);
      device::with_activation(
          a.activation, [&](auto activate) { write(sums, b1, bu, part, group, hidden, stride, activate); });
    }
  }

  // Of this lane's neurons, two neighbours in a word.
  struct Biases {
    uint32_t word[kNeurons / 8];
    D2DMOE_HOPPER float operator()(int j, int c) const {
      T v;
      v.bits = static_cast<uint16_t>(word[j] >> (16 * c));
      return device::to_float(v);
    }
  };
  D2DMOE_HOPPER Biases biases(const T* of, const Part& part) const {
    Biases b;
    const int i = part.neuron + 2 * static_cast<int>(threadIdx.x % 4);
#pragma unroll
    for (int j = 0; j < kNeurons / 8; ++j)
      b.word[j] =
          of && i + 8 * j < size
              ? *reinterpret_cast<const uint32_t*>(of + static_cast<int64_t>(part.expert) * size + i + 8 * j)
              : 0;
    return b;
  }

  // Activations of this lane: 4 fragments of 8 neurons at a time, exchanged so that a lane has one of them.
  template <class Activate>
  D2DMOE_HOPPER void write(const float (&sums)[kSums], const Biases& b1, const Biases& bu, const Part& part,
                           int group, T* hidden, int64_t stride, Activate activate) const {
    const int lane = static_cast<int>(threadIdx.x) % 32, warp = static_cast<int>(threadIdx.x) / 32 % 4;
    const int pair = group * kGroupPairs + 16 * warp + lane / 4;
#pragma unroll
    for (int j = 0; j < kNeurons / 8; j += 4) {
      if (part.neuron + 8 * j >= size) break;
      uint32_t words[2][4];
#pragma unroll
      for (int f = 0; f < 4; ++f)
#pragma unroll
        for (int r = 0; r < 2; ++r) {
          float v[2];
#pragma unroll
          for (int c = 0; c < 2; ++c) {
            v[c] = activate(sums[4 * (j + f) + 2 * r + c] + b1(j + f, c));
            if (kGated) v[c] *= sums[kSums / 2 * (kGated ? 1 : 0) + 4 * (j + f) + 2 * r + c] + bu(j + f, c);
          }
          words[r][f] = pack<T>(v[0], v[1]);
        }
#pragma unroll
      for (int r = 0; r < 2; ++r) {
        transpose_quad(words[r]);
        const int i = part.neuron + 8 * (j + lane % 4);
        if (pair + 8 * r < part.count && i < size)
          *reinterpret_cast<Chunk*>(hidden + (part.first + pair + 8 * r) * stride +
                                    i) = {{words[r][0], words[r][1], words[r][2], words[r][3]}};
      }
    }
  }
};

/// Any number of clusters: each takes every so manieth tile. @param hidden  [pairs, stride]
template <class T, bool kGated>
__global__ void __cluster_dims__(kCluster) __launch_bounds__(kProjectBlock, 1)
    project(const __grid_constant__ ProjectMaps maps, TypedMlpArgs<T> a, Lists l, T* hidden, int64_t stride) {
  constexpr int kStages = kProjectStages<kGated>;
  uint8_t* stages = shared_start();
  auto& ring = *reinterpret_cast<Ring<kStages>*>(stages + kStages * kProjectStage<kGated>);
  if (threadIdx.x == 0) {
    prefetch_map(&maps.w1);
    if (kGated) prefetch_map(&maps.wu);
    for (int s = 0; s < kStages; ++s) {
      barrier_init(&ring.full[s], kGroup + 1);
      barrier_init(&ring.empty[s], 2 * kReleases);
    }
    barriers_ready();
  }
  device::let_next_start();
  cluster_sync();
  device::wait_for_previous();
  const int size = static_cast<int>(a.hidden / a.experts), groups = static_cast<int>(tiles(size, kNeurons));
  const Projection<T, kGated> p{a,
                                l,
                                stages,
                                ring,
                                blockIdx.x / kCluster,
                                static_cast<int64_t>(*l.tile_count) * groups,
                                gridDim.x / kCluster,
                                groups,
                                static_cast<int>(tiles(a.d_in, kInner)),
                                size,
                                cluster_rank()};
  if (threadIdx.x < kGroup) {
    give_registers_back<56>();
    p.bring_all(maps);
  } else {
    take_registers<224>();
    p.multiply_all(hidden, stride);
  }
  __syncwarp();
  cluster_sync();  // nobody leaves while the other still sends to it
}

}  // namespace d2dmoe::kernels::cuda::hopper
