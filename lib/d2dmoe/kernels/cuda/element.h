#pragma once

#include <cstdint>

#if defined(__CUDACC__)
#define D2DMOE_HOST_DEVICE __host__ __device__
#else
#define D2DMOE_HOST_DEVICE
#endif

namespace d2dmoe::kernels::cuda {

/// A bfloat16 number as it lies in memory.
struct Bf16 {
  uint16_t bits;
};
/// An IEEE half-precision number as it lies in memory.
struct F16 {
  uint16_t bits;
};
/// Names the products of TF32 numbers: the upper 19 bits of float32.
struct Tf32 {};

/// Sixteen bytes: what one thread copies at once.
struct alignas(16) Chunk {
  uint32_t word[4];
};

/// Elements of type T in a chunk.
template <class T>
constexpr int kPerChunk = 16 / static_cast<int>(sizeof(T));

}  // namespace d2dmoe::kernels::cuda
