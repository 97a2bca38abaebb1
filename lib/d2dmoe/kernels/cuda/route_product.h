#pragma once

#include <type_traits>

#include "d2dmoe/kernels/cuda/tile.h"

/// One linear layer of a router by a block: rows of 16-bit or float32 numbers times float32 weights, both
/// split into two bfloat16 numbers for the tensor cores.
namespace d2dmoe::kernels::cuda::D2DMOE_SIMT {

constexpr int kRouteInner = 32;   // of the inner dimension, in one stage
constexpr int kRouteStages = 4;   // in shared memory at a time
constexpr int kRouteColumns = 8;  // outputs that a warp makes at a time

/// Bytes from one line of a stage to the next, so that what a warp reads at once lies in different banks:
/// eight pieces of 16 bytes of eight lines; of float32, half a warp's pairs of four lines.
template <class In>
constexpr int kRouteApart = sizeof(In) == 2 ? 80 : 160;

/// Two numbers as the upper and lower bfloat16 halves of each: v = upper + lower to about 16 bits.
struct SplitPair {
  uint32_t upper, lower;
};
D2DMOE_DEVICE SplitPair split(float v0, float v1) {
  const uint32_t upper = pack_bfloat16(v0, v1);
  return {upper, pack_bfloat16(v0 - __uint_as_float(upper << 16), v1 - __uint_as_float(upper & 0xffff0000u))};
}

/// Two neighbouring elements, read at once.
template <class T>
struct alignas(2 * sizeof(T)) Two {
  T first, second;
};
template <class T>
D2DMOE_DEVICE Two<T> two(const T* at) {
  return *reinterpret_cast<const Two<T>*>(at);
}

/// A layer's operands.
template <class In>
struct RouteLayer {
  const In* in;          // [rows, inputs], rows `stride` elements apart
  int64_t stride, rows;  // all rows of the call
  const float* weights;  // [outputs, inputs]
  int inputs, outputs;
};

/// A block's tile: 16 kA rows by 8 kWarpsHere outputs. Each output is summed in one order, whatever the tile.
/// @param kAligned  lines of both operands begin at multiples of 16 bytes
template <class In, int kA, int kWarpsHere, bool kAligned>
struct RouteProduct {
  static constexpr int kRows = 16 * kA, kOutputs = kRouteColumns * kWarpsHere;
  static constexpr int kThreadsHere = 32 * kWarpsHere;
  static constexpr int kInBytes = kRows * kRouteApart<In>;
  static constexpr int kStageBytes = kInBytes + kOutputs * kRouteApart<float>;
  static constexpr int kBytes = kRouteStages * kStageBytes;
  static constexpr bool kExact = std::is_same<In, Bf16>::value;  // its lower halves are 0

  RouteLayer<In> l;
  int64_t first_row;
  uint8_t* stages;  // kBytes of shared memory
  SharedAddress address;

  D2DMOE_DEVICE RouteProduct(const RouteLayer<In>& layer, int64_t first, uint8_t* shared)
      : l(layer), first_row(first), stages(shared), address(shared_address(shared)) {}

  /// What this thread brings of one operand, always the same chunks of a stage: where they come from, from
  /// step to step kRouteInner elements further, where they go, and whether their lines exist.
  template <class T, int kLines>
  struct Chunks {
    static constexpr int kPerLine = kRouteInner / kPerChunk<T>, kAll = kLines * kPerLine;
    static constexpr int kCount = (kAll + kThreadsHere - 1) / kThreadsHere;
    const T* from[kCount];
    int to[kCount], most[kCount];  // bytes from the stage's start; elements

    /// @param lines  the first of them, `stride` elements apart; `exist` of them do
    D2DMOE_DEVICE Chunks(const T* lines, int64_t stride, int64_t exist, int at) {
#pragma unroll
      for (int j = 0; j < kCount; ++j) {
        const int i = static_cast<int>(threadIdx.x) + j * kThreadsHere, line = i / kPerLine, c = i % kPerLine;
        const bool exists = i < kAll && line < exist;
        from[j] = lines + (exists ? line * stride : 0) + c * kPerChunk<T>;
        to[j] = i < kAll ? at + line * kRouteApart<T> + 16 * c : -1;
        most[j] = exists ? kPerChunk<T> : 0;
      }
    }
    /// @param left  of the inner dimension, from this step on
    D2DMOE_DEVICE void bring_step(const RouteProduct& p, int stage, int k, int left) const {
#pragma unroll
      for (int j = 0; j < kCount; ++j) {
        if (kAll % kThreadsHere != 0 && to[j] < 0) continue;
        const int at = stage * kStageBytes + to[j];
        int count = most[j];
        if (left < kRouteInner && count > 0) count = in_chunk<T>(left - first_of(j));
        bring<kAligned>(Shared{reinterpret_cast<Chunk*>(p.stages + at), p.address + at},
                        count > 0 ? from[j] + k : from[j], count);
      }
    }
    D2DMOE_DEVICE static int first_of(int j) {
      return (static_cast<int>(threadIdx.x) + j * kThreadsHere) % kPerLine * kPerChunk<T>;
    }
  };

  /// Rows 16 i + … of the inputs, 16 elements from `k` of the stage on.
  D2DMOE_DEVICE void load_in(SplitPair (&of)[4], int stage, int i, int k) const {
    const int lane = static_cast<int>(threadIdx.x) % 32;
    const int at = stage * kStageBytes + 16 * i * kRouteApart<In>;
    if constexpr (kExact) {
      uint32_t words[4];
      load_matrices(words, address + at + lane % 16 * kRouteApart<In> + 2 * k + 16 * (lane / 16));
#pragma unroll
      for (int q = 0; q < 4; ++q) of[q] = {words[q], 0};
    } else {
#pragma unroll
      for (int q = 0; q < 4; ++q) {
        const int row = lane / 4 + 8 * (q % 2), element = k + 2 * (lane % 4) + 8 * (q / 2);
        const auto pair = two(reinterpret_cast<const In*>(stages + at + row * kRouteApart<In>) + element);
        of[q] = split(to_float(pair.first), to_float(pair.second));
      }
    }
  }

  D2DMOE_DEVICE void multiply_step(float (&sums)[kA][4], int stage) const {
    const int lane = static_cast<int>(threadIdx.x) % 32, warp = static_cast<int>(threadIdx.x) / 32;
    const float* line = reinterpret_cast<const float*>(
        stages + stage * kStageBytes + kInBytes + (kRouteColumns * warp + lane / 4) * kRouteApart<float>);
#pragma unroll
    for (int k = 0; k < kRouteInner; k += 16) {
      const auto at0 = two(line + k + 2 * (lane % 4)), at1 = two(line + k + 8 + 2 * (lane % 4));
      const SplitPair b0 = split(at0.first, at0.second), b1 = split(at1.first, at1.second);
      SplitPair a[kA][4];
#pragma unroll
      for (int i = 0; i < kA; ++i) load_in(a[i], stage, i, k);
        // The small products first: they would drown in a large sum. Neighbouring products are of different
        // sums, so that none waits for the one before.
#pragma unroll
      for (int i = 0; i < kA; ++i) {
        const uint32_t upper[4] = {a[i][0].upper, a[i][1].upper, a[i][2].upper, a[i][3].upper};
        multiply(sums[i], upper, b0.lower, b1.lower, Bf16{});
      }
      if (!kExact) {
#pragma unroll
        for (int i = 0; i < kA; ++i) {
          const uint32_t lower[4] = {a[i][0].lower, a[i][1].lower, a[i][2].lower, a[i][3].lower};
          multiply(sums[i], lower, b0.upper, b1.upper, Bf16{});
        }
      }
#pragma unroll
      for (int i = 0; i < kA; ++i) {
        const uint32_t upper[4] = {a[i][0].upper, a[i][1].upper, a[i][2].upper, a[i][3].upper};
        multiply(sums[i], upper, b0.upper, b1.upper, Bf16{});
      }
    }
  }

  /// Calls use(row of the block, output, value) for every output of tiles first_tile … first_tile + count - 1
  /// that exists; rows may not.
  template <class Use>
  D2DMOE_DEVICE void run(int64_t first_tile, int count, const Use& use) const {
    const int lane = static_cast<int>(threadIdx.x) % 32, warp = static_cast<int>(threadIdx.x) / 32;
    const int steps = l.inputs > 0 ? static_cast<int>(tiles(l.inputs, kRouteInner)) : 1;
    const Chunks<In, kRows> rows(l.in + first_row * l.stride, l.stride, l.rows - first_row, 0);
    const auto weights_of = [&](int64_t tile) {
      const int64_t first = tile * kOutputs;
      return Chunks<float, kOutputs>(l.weights + first * l.inputs, l.inputs, l.outputs - first, kInBytes);
    };
    auto weights = weights_of(first_tile);
    int tile_brought = 0, step_brought = 0, stage_brought = 0;
    const auto bring_next = [&] {
      if (tile_brought < count) {
        const int k = step_brought * kRouteInner;
        rows.bring_step(*this, stage_brought, k, l.inputs - k);
        weights.bring_step(*this, stage_brought, k, l.inputs - k);
        if (++stage_brought == kRouteStages) stage_brought = 0;
        if (++step_brought == steps) {
          step_brought = 0;
          if (++tile_brought < count) weights = weights_of(first_tile + tile_brought);
        }
      }
      copies_commit();
    };
    for (int s = 0; s < kRouteStages - 1; ++s) bring_next();
    for (int tile = 0, stage = 0; tile < count; ++tile) {
      float sums[kA][4] = {};
      for (int step = 0; step < steps; ++step) {
        copies_wait<kRouteStages - 2>();
        __syncthreads();  // what this step reads is there, and what the one before read may be overwritten
        bring_next();
        multiply_step(sums, stage);
        if (++stage == kRouteStages) stage = 0;
      }
      const int64_t first = (first_tile + tile) * kOutputs + kRouteColumns * warp + 2 * (lane % 4);
#pragma unroll
      for (int i = 0; i < kA; ++i)
#pragma unroll
        for (int q = 0; q < 4; ++q)
          if (first + q % 2 < l.outputs)
            use(16 * i + lane / 4 + 8 * (q / 2), static_cast<int>(first) + q % 2, sums[i][q]);
    }
    copies_wait<0>();
  }
};

}  // namespace d2dmoe::kernels::cuda::D2DMOE_SIMT
