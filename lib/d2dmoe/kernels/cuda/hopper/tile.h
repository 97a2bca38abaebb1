#pragma once

#include "d2dmoe/kernels/cuda/device.h"
#include "d2dmoe/kernels/cuda/hopper/instructions.h"
#include "d2dmoe/kernels/cuda/plan.h"

/// What the two products on Hopper share. Blocks come in clusters that take the same weights: each brings its
/// part of them and sends it to all. In a block, one warpgroup (or one
/// thread of it) brings operands into a ring of stages, two multiply.
namespace d2dmoe::kernels::cuda::hopper {

constexpr int kCluster = 2;
constexpr int kGroup = 128;        // threads of a warpgroup
constexpr int kInner = kLine / 2;  // elements of the inner dimension in a stage: a line of 16 bits
constexpr int kGroupPairs = 64;    // pairs that one product of a warpgroup takes
constexpr int kReleases =
    kCluster * 4;  // warps that release a stage for each warpgroup of a block that reads it
constexpr uint16_t kAllBlocks = (1 << kCluster) - 1;

/// The stages' barriers and where a thread stands in the ring.
template <int kStages>
struct Ring {
  Barrier full[kStages], empty[kStages];
};
template <int kStages>
struct Place {
  int stage = 0;
  uint32_t round = 0;

  D2DMOE_HOPPER void next() {
    if (++stage == kStages) stage = 0, ++round;
  }
};

/// A stage is empty for whoever fills it: at once in the first round.
template <int kStages>
D2DMOE_HOPPER void wait_empty(Ring<kStages>& ring, Place<kStages> at) {
  if (at.round > 0) wait(&ring.empty[at.stage], (at.round - 1) & 1);
}
template <int kStages>
D2DMOE_HOPPER void wait_full(Ring<kStages>& ring, Place<kStages> at) {
  wait(&ring.full[at.stage], at.round & 1);
}
/// This warp has read the stage: lets all blocks fill it again.
template <int kStages>
D2DMOE_HOPPER void release(Ring<kStages>& ring, int stage) {
  const uint32_t lane = threadIdx.x % 32;
  if (lane < kCluster) arrive_at(&ring.empty[stage], lane);
}

/// The block's shared memory from the first multiple of 1024 on, which all blocks of a cluster have alike.
D2DMOE_HOPPER uint8_t* shared_start() {
  extern __shared__ __align__(1024) uint8_t hopper_memory[];
  return hopper_memory + ((1024 - (shared_address(hopper_memory) & 1023)) & 1023);
}

/// Two neighbouring sums as elements, the first in the lower half.
template <class T>
D2DMOE_HOPPER uint32_t pack(float v0, float v1) {
  T of[2];
  device::store(&of[0], v0);
  device::store(&of[1], v1);
  return of[0].bits | static_cast<uint32_t>(of[1].bits) << 16;
}

/// Words i of the four lanes of a quad become the words of lane i.
D2DMOE_HOPPER void transpose_quad(uint32_t (&w)[4]) {
  const unsigned lane = threadIdx.x % 4;
#pragma unroll
  for (unsigned m = 1; m < 4; m *= 2)
#pragma unroll
    for (unsigned i = 0; i < 4; ++i) {
      if (i & m) continue;
      const uint32_t given = lane & m ? w[i] : w[i | m];
      const uint32_t got = __shfl_xor_sync(0xffffffffu, given, m);
      if (lane & m)
        w[i] = got;
      else
        w[i | m] = got;
    }
}

}  // namespace d2dmoe::kernels::cuda::hopper
