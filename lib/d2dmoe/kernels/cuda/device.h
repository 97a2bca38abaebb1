#pragma once

#include <cstdint>

#include "d2dmoe/kernels/cuda/element.h"

/// The instructions that the kernels use beyond plain C++, each behind a function with a documented meaning.
///
/// The kernels' own text (everything else in this folder that ends in .h) is compiled twice: by nvcc, with
/// the bodies below, and by the host compiler, with the bodies of tests/kernels/simt/, which carry out what
/// the PTX manual says of the same instructions. The latter is how the kernels are tested on machines without
/// a GPU. The two sets live in two namespaces, so that a program may hold both. Several .cu files include the
/// same text: kernels that are no templates are static, or the linker meets their host side more than once.
#if defined(__CUDACC__)

#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_runtime.h>

#define D2DMOE_SIMT device
#define D2DMOE_DEVICE __device__ __forceinline__

namespace d2dmoe::kernels::cuda::D2DMOE_SIMT {

D2DMOE_DEVICE float to_float(float v) {
  return v;
}
D2DMOE_DEVICE float to_float(Bf16 v) {
  return __uint_as_float(static_cast<uint32_t>(v.bits) << 16);
}
D2DMOE_DEVICE float to_float(F16 v) {
  return __half2float(__ushort_as_half(v.bits));
}
D2DMOE_DEVICE void store(float* to, float v) {
  *to = v;
}
/// Rounded to nearest even; beyond the range: infinity.
D2DMOE_DEVICE void store(Bf16* to, float v) {
  to->bits = __bfloat16_as_ushort(__float2bfloat16_rn(v));
}
D2DMOE_DEVICE void store(F16* to, float v) {
  to->bits = __half_as_ushort(__float2half_rn(v));
}

/// Two numbers as bfloat16, rounded as `store` does, the first in the lower half.
D2DMOE_DEVICE uint32_t pack_bfloat16(float low, float high) {
  const __nv_bfloat162 both = __floats2bfloat162_rn(low, high);
  return reinterpret_cast<const uint32_t&>(both);
}

/// The block's dynamic shared memory, 16-byte aligned.
D2DMOE_DEVICE uint8_t* dynamic_shared() {
  extern __shared__ __align__(16) uint8_t memory[];
  return memory;
}
/// Where something stands in shared memory, in bytes.
using SharedAddress = uint32_t;
D2DMOE_DEVICE SharedAddress shared_address(const void* p) {
  return static_cast<uint32_t>(__cvta_generic_to_shared(p));
}
/// The same, kept in a register: the compiler would work it out again and again.
D2DMOE_DEVICE SharedAddress kept_shared_address(const void* p) {
  SharedAddress at = shared_address(p);
  asm volatile("" : "+r"(at));
  return at;
}

/// Starts to copy the first `bytes` (0 … 16) of 16 bytes from global to shared memory, zeros in place of the
/// others. Both addresses are multiples of 16, also where bytes is 0. The thread that started the copy sees
/// it after copies_wait, other threads after a barrier that follows.
D2DMOE_DEVICE void copy_async(SharedAddress to, const void* from, int bytes) {
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;\n" ::"r"(to),
               "l"(__cvta_generic_to_global(from)), "r"(bytes)
               : "memory");
}
/// Closes a group: the copies that this thread started since the last group.
D2DMOE_DEVICE void copies_commit() {
  asm volatile("cp.async.commit_group;\n" ::: "memory");
}
/// Waits until at most `kPending` of this thread's latest groups are under way.
template <int kPending>
D2DMOE_DEVICE void copies_wait() {
  asm volatile("cp.async.wait_group %0;\n" ::"n"(kPending) : "memory");
}

/// Four 8x8 matrices of 16-bit elements from shared memory. Lanes 8i … 8i+7 give the addresses of the rows of
/// matrix i (16 bytes each, 16-byte aligned). Lane l gets of each matrix the elements (row l / 4, columns
/// 2 (l % 4) and the next) in one word, lower column in the lower half.
D2DMOE_DEVICE void load_matrices(uint32_t (&out)[4], SharedAddress row) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];\n"
               : "=r"(out[0]), "=r"(out[1]), "=r"(out[2]), "=r"(out[3])
               : "r"(row));
}
/// The same of the transposed matrices: lane l gets (rows 2 (l % 4) and the next, column l / 4).
D2DMOE_DEVICE void load_matrices_transposed(uint32_t (&out)[4], SharedAddress row) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];\n"
               : "=r"(out[0]), "=r"(out[1]), "=r"(out[2]), "=r"(out[3])
               : "r"(row));
}

/// c += a b over the warp: a is 16x16, b 16x8, c 16x8 in float32. With g = lane / 4 and t = lane % 4, a[0]
/// holds (row g, columns 2t, 2t+1), a[1] row g + 8, a[2] and a[3] the same of columns + 8; b[0] holds (rows
/// 2t, 2t+1, column g), b[1] rows + 8; c[0], c[1] are (row g, columns 2t, 2t+1), c[2], c[3] row g + 8.
D2DMOE_DEVICE void multiply(float (&c)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1, Bf16) {
  asm volatile(
      "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, "
      "{%0,%1,%2,%3};\n"
      : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}
D2DMOE_DEVICE void multiply(float (&c)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1, F16) {
  asm volatile(
      "mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, "
      "{%0,%1,%2,%3};\n"
      : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}
/// c += a b over the warp: a is 16x8, b 8x8, both TF32 (of float32 words the lower 13 bits are not looked
/// at), c 16x8 in float32, as above. a[0] holds (row g, column t), a[1] row g + 8, a[2] and a[3] the same of
/// column t + 4; b0 holds (row t, column g), b1 row t + 4.
D2DMOE_DEVICE void multiply(float (&c)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1, Tf32) {
  asm volatile(
      "mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, "
      "{%0,%1,%2,%3};\n"
      : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}

/// Where the next kernel of the stream is queued by launch_early: lets it start beside this one.
D2DMOE_DEVICE void let_next_start() {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900
  asm volatile("griddepcontrol.launch_dependents;\n" ::: "memory");
#endif
}
/// In a kernel queued by launch_early: waits until the one before has ended and what it wrote is there.
D2DMOE_DEVICE void wait_for_previous() {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900
  asm volatile("griddepcontrol.wait;\n" ::: "memory");
#endif
}

/// Sixteen bytes from a 16-byte aligned address.
D2DMOE_DEVICE Chunk load_chunk(const void* from) {
  return *static_cast<const Chunk*>(from);
}

/// Multiprocessors of the current device.
inline int multiprocessors() {
  int device = 0, count = 0;
  if (cudaGetDevice(&device) != cudaSuccess ||
      cudaDeviceGetAttribute(&count, cudaDevAttrMultiProcessorCount, device) != cudaSuccess)
    return 1;
  return count;
}
/// Whether the current device knows launch_early and runs code that waits: later ones run what was compiled
/// for sm_80, where wait_for_previous does nothing.
inline bool starts_early() {
  int device = 0, major = 0;
  return cudaGetDevice(&device) == cudaSuccess &&
         cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, device) == cudaSuccess &&
         major == 9;
}
/// Bytes of shared memory that a block of the current device gets at most: 163 KiB on sm_80, 99 KiB on sm_86
/// and sm_89, 227 KiB on sm_90.
inline int most_shared_bytes() {
  int device = 0, bytes = 0;
  if (cudaGetDevice(&device) != cudaSuccess ||
      cudaDeviceGetAttribute(&bytes, cudaDevAttrMaxSharedMemoryPerBlockOptin, device) != cudaSuccess)
    return 48 * 1024;
  return bytes;
}

/// Lets a kernel have all the shared memory that a block of the current device gets. Always as much, whatever
/// a launch needs: the figure is the kernel's, and a smaller one would take from launches of other threads
/// and from graphs that are being captured.
inline cudaError_t allow_shared_memory(const void* kernel) {
  cudaFuncAttributes has;
  const cudaError_t error = cudaFuncGetAttributes(&has, kernel);
  if (error != cudaSuccess) return error;
  const int most = most_shared_bytes() - static_cast<int>(has.sharedSizeBytes);
  if (has.maxDynamicSharedSizeBytes >= most) return cudaSuccess;
  return cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, most);
}

/// Queues kernel<<<grid, block, shared bytes, stream>>>(arguments…).
/// @param early  a device of compute capability 9.0 may start it before the kernel before it has ended: it
/// calls
///               wait_for_previous before it looks at what that one writes
/// @return       nullptr, or why it failed
template <class... Parameters, class... Arguments>
const char* launch_early(bool early, void (*kernel)(Parameters...), dim3 grid, dim3 block, int shared_bytes,
                         void* stream, Arguments... arguments) {
  // A kernel gets more than 48 KiB, what it declares included, only after this call.
  constexpr int kWithoutAsking = 40 * 1024;
  cudaError_t error = cudaSuccess;
  if (shared_bytes > kWithoutAsking) error = allow_shared_memory(reinterpret_cast<const void*>(kernel));
  if (error == cudaSuccess) {
    cudaLaunchAttribute attribute = {};
    attribute.id = cudaLaunchAttributeProgrammaticStreamSerialization;
    attribute.val.programmaticStreamSerializationAllowed = 1;
    cudaLaunchConfig_t config = {};
    config.gridDim = grid, config.blockDim = block,
    config.dynamicSmemBytes = static_cast<size_t>(shared_bytes);
    config.stream = static_cast<cudaStream_t>(stream);
    config.attrs = &attribute, config.numAttrs = early ? 1 : 0;
    error = cudaLaunchKernelEx(&config, kernel, static_cast<Parameters>(arguments)...);
  }
  const cudaError_t last = cudaGetLastError();  // also forgets it: the caller is told, not the next to ask
  if (error == cudaSuccess) error = last;
  return error == cudaSuccess ? nullptr : cudaGetErrorString(error);
}

template <class... Parameters, class... Arguments>
const char* launch(void (*kernel)(Parameters...), dim3 grid, dim3 block, int shared_bytes, void* stream,
                   Arguments... arguments) {
  return launch_early(false, kernel, grid, block, shared_bytes, stream, arguments...);
}

}  // namespace d2dmoe::kernels::cuda::D2DMOE_SIMT

#elif !defined(D2DMOE_SIMT)
#error "the kernels' text needs nvcc, or tests/kernels/simt/device.h included before it"
#endif
