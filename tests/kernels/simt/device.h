#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>

#include "d2dmoe/kernels/cuda/element.h"
#include "kernels/simt/simt.h"

/// The host's bodies of d2dmoe/kernels/cuda/device.h: what the PTX manual says of each instruction, lane by
/// lane. Included before the kernels' text by the tests that run it.
#define D2DMOE_SIMT emulated
#define D2DMOE_DEVICE inline
#define __global__
#define __device__
#define __shared__ static
#define __launch_bounds__(...)
#define threadIdx (::d2dmoe::simt::here().thread)
#define blockIdx (::d2dmoe::simt::here().block)
#define blockDim (::d2dmoe::simt::here().block_size)
#define gridDim (::d2dmoe::simt::here().grid_size)

namespace d2dmoe::kernels::cuda::emulated {

using dim3 = simt::Dim3;

inline void __syncthreads() {
  simt::sync_block();
}
inline int __popc(uint32_t v) {
  return __builtin_popcount(v);
}

/// What lane l of the warp gave.
template <class V>
V given_by(const uint8_t* all, unsigned lane) {
  V v;
  std::memcpy(&v, all + lane * simt::kMostExchanged, sizeof(V));
  return v;
}
inline unsigned lane_here() {
  return simt::here().flat % 32;
}
inline void __syncwarp() {
  const uint8_t nothing = 0;
  simt::exchange(&nothing, 1);
}
inline uint32_t __ballot_sync(uint32_t members, bool vote) {
  if (members != 0xffffffffu) simt::fail("a ballot among some lanes only");
  const uint8_t mine = vote;
  const uint8_t* all = simt::exchange(&mine, 1);
  uint32_t votes = 0;
  for (unsigned l = 0; l < 32; ++l) votes |= static_cast<uint32_t>(given_by<uint8_t>(all, l)) << l;
  return votes;
}
template <class V>
V __shfl_xor_sync(uint32_t, V v, unsigned mask) {
  return given_by<V>(simt::exchange(&v, sizeof v), lane_here() ^ mask);
}
template <class V>
V __shfl_up_sync(uint32_t, V v, unsigned delta) {
  const uint8_t* all = simt::exchange(&v, sizeof v);
  return lane_here() < delta ? v : given_by<V>(all, lane_here() - delta);
}

inline float float_of(uint32_t bits) {
  float v;
  std::memcpy(&v, &bits, sizeof v);
  return v;
}
inline uint32_t bits_of(float v) {
  uint32_t bits;
  std::memcpy(&bits, &v, sizeof bits);
  return bits;
}
inline float __uint_as_float(uint32_t bits) {
  return float_of(bits);
}
inline uint32_t __float_as_uint(float v) {
  return bits_of(v);
}

inline float to_float(float v) {
  return v;
}
inline float to_float(Bf16 v) {
  return float_of(static_cast<uint32_t>(v.bits) << 16);
}
inline float to_float(F16 v) {
  const uint32_t sign = (v.bits & 0x8000u) << 16, exponent = v.bits >> 10 & 31u, fraction = v.bits & 1023u;
  if (exponent == 31) return float_of(sign | 0x7f800000u | fraction << 13);
  if (exponent == 0)
    return std::copysign(std::ldexp(static_cast<float>(fraction), -24), float_of(sign | 0x3f800000u));
  return float_of(sign | (exponent + 112) << 23 | fraction << 13);
}
inline void store(float* to, float v) {
  *to = v;
}
inline void store(Bf16* to, float v) {
  const uint32_t bits = bits_of(v);
  to->bits = std::isnan(v) ? 0x7fff : static_cast<uint16_t>((bits + 0x7fffu + (bits >> 16 & 1u)) >> 16);
}
inline uint32_t pack_bfloat16(float low, float high) {
  Bf16 both[2];
  store(&both[0], low);
  store(&both[1], high);
  return both[0].bits | static_cast<uint32_t>(both[1].bits) << 16;
}
inline void store(F16* to, float v) {
  const uint16_t sign = bits_of(v) >> 16 & 0x8000u;
  const float size = std::fabs(v);
  if (std::isnan(v)) {
    to->bits = 0x7fff;
  } else if (size >= 65520.0f) {
    to->bits = sign | 0x7c00;  // rounds to infinity
  } else if (size < 6.103515625e-5f) {
    to->bits = sign | static_cast<uint16_t>(std::nearbyint(std::ldexp(size, 24)));  // subnormal
  } else {
    const uint32_t bits = bits_of(size) - (112u << 23);
    to->bits = sign | static_cast<uint16_t>((bits + 0xfffu + (bits >> 13 & 1u)) >> 13);
  }
}

inline uint8_t* dynamic_shared() {
  return simt::dynamic_shared();
}
using SharedAddress = uint8_t*;
inline SharedAddress shared_address(const void* p) {
  return static_cast<uint8_t*>(const_cast<void*>(p));
}
inline SharedAddress kept_shared_address(const void* p) {
  return shared_address(p);
}
inline void copy_async(SharedAddress to, const void* from, int bytes) {
  simt::copy_start(to, from, bytes);
}
inline void copies_commit() {
  simt::copies_commit();
}
template <int kPending>
void copies_wait() {
  simt::copies_wait(kPending);
}

/// Element (r, c) of matrix i among the rows whose addresses the lanes gave.
inline uint16_t matrix_element(const uint8_t* all, unsigned i, unsigned r, unsigned c) {
  const auto* row = given_by<const uint8_t*>(all, 8 * i + r);
  if (reinterpret_cast<uintptr_t>(row) % 16)
    simt::fail("a matrix row at an address that is no multiple of 16");
  if (row < simt::dynamic_shared() || row + 16 > simt::dynamic_shared() + simt::dynamic_shared_bytes())
    simt::fail("a matrix row outside the shared memory");
  uint16_t v;
  std::memcpy(&v, row + 2 * c, sizeof v);
  return v;
}
inline void load_matrices(uint32_t (&out)[4], SharedAddress row) {
  const uint8_t* all = simt::exchange(&row, sizeof row);
  const unsigned g = lane_here() / 4, t = lane_here() % 4;
  for (unsigned i = 0; i < 4; ++i)
    out[i] = matrix_element(all, i, g, 2 * t) | static_cast<uint32_t>(matrix_element(all, i, g, 2 * t + 1))
                                                    << 16;
  __syncwarp();  // the elements are read before anybody goes on
}
inline void load_matrices_transposed(uint32_t (&out)[4], SharedAddress row) {
  const uint8_t* all = simt::exchange(&row, sizeof row);
  const unsigned g = lane_here() / 4, t = lane_here() % 4;
  for (unsigned i = 0; i < 4; ++i)
    out[i] = matrix_element(all, i, 2 * t, g) | static_cast<uint32_t>(matrix_element(all, i, 2 * t + 1, g))
                                                    << 16;
  __syncwarp();
}

template <class T>
float half_of(uint32_t word, unsigned upper) {
  return to_float(T{static_cast<uint16_t>(word >> (16 * upper))});
}
struct MatrixWords {
  uint32_t a[4], b[2];
};
/// c += a b: a is 16 x kInner, b kInner x 8, kInner / 8 elements to a word.
/// @param product  of element i of a word of a and of a word of b
template <unsigned kInner, class Product>
void multiply_words(float (&c)[4], const MatrixWords& mine, const Product& product) {
  constexpr unsigned kHalf = kInner / 2, kInWord = kInner / 8;
  const uint8_t* all = simt::exchange(&mine, sizeof mine);
  const unsigned g = lane_here() / 4, t = lane_here() % 4;
  for (unsigned r = 0; r < 2; ++r)
    for (unsigned j = 0; j < 2; ++j) {
      float sum = 0;
      for (unsigned k = 0; k < kInner; ++k) {
        // (row g + 8r, column k) of a lies with lane 4g + k % kHalf / kInWord; (row k, column n) of b with 4n
        // and as much.
        const unsigned lane = k % kHalf / kInWord;
        const auto from_a = given_by<MatrixWords>(all, 4 * g + lane);
        const auto from_b = given_by<MatrixWords>(all, 4 * (2 * t + j) + lane);
        sum += product(from_a.a[r + k / kHalf * 2], from_b.b[k / kHalf], k % kInWord);
      }
      c[2 * r + j] += sum;
    }
}
template <class T>
void multiply(float (&c)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1, T) {
  multiply_words<16>(c, {{a[0], a[1], a[2], a[3]}, {b0, b1}}, [](uint32_t of_a, uint32_t of_b, unsigned i) {
    return half_of<T>(of_a, i) * half_of<T>(of_b, i);
  });
}
inline void multiply(float (&c)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1, Tf32) {
  // What the tensor cores take a word of float32 for.
  const auto tf32_of = [](uint32_t bits) { return float_of(bits & 0xffffe000u); };
  multiply_words<8>(c, {{a[0], a[1], a[2], a[3]}, {b0, b1}},
                    [&](uint32_t of_a, uint32_t of_b, unsigned) { return tf32_of(of_a) * tf32_of(of_b); });
}

inline Chunk load_chunk(const void* from) {
  if (reinterpret_cast<uintptr_t>(from) % 16)
    simt::fail("a 16-byte load from an address that is no multiple of 16");
  Chunk chunk;
  std::memcpy(&chunk, from, sizeof chunk);
  return chunk;
}

// Kernels run one after the other.
inline void let_next_start() {}
inline void wait_for_previous() {}

template <class... Parameters, class... Arguments>
const char* launch(void (*kernel)(Parameters...), dim3 grid, dim3 block, int shared_bytes, void*,
                   Arguments... arguments) {
  if (shared_bytes > simt::most_shared_bytes()) return "more shared memory than a block gets";
  simt::run_grid(grid, block, static_cast<size_t>(shared_bytes), [&] { kernel(arguments...); });
  return nullptr;
}

template <class... Parameters, class... Arguments>
const char* launch_early(bool, void (*kernel)(Parameters...), dim3 grid, dim3 block, int shared_bytes,
                         void* stream, Arguments... arguments) {
  return launch(kernel, grid, block, shared_bytes, stream, arguments...);
}

inline bool starts_early() {
  return true;
}
inline int most_shared_bytes() {
  return simt::most_shared_bytes();
}
inline int multiprocessors() {
  return 1;  // so that blocks take several tiles
}

}  // namespace d2dmoe::kernels::cuda::emulated
