#pragma once

#include <cuda.h>
#include <cuda_runtime.h>

#include <cstdint>

#include "d2dmoe/kernels/cuda/device.h"

/// The instructions of sm_90a that the Hopper kernels use beyond those of device.h (PTX manual, "asynchronous
/// warpgroup level matrix instructions", "mbarrier", "data movement"). A warpgroup is four warps, the first
/// a multiple of four.
namespace d2dmoe::kernels::cuda::hopper {

#define D2DMOE_HOPPER __device__ __forceinline__

using device::shared_address;

// ---- clusters

D2DMOE_HOPPER uint32_t cluster_rank() {
  uint32_t rank;
  asm volatile("mov.u32 %0, %%cluster_ctarank;\n" : "=r"(rank));
  return rank;
}
D2DMOE_HOPPER void cluster_sync() {
  asm volatile(
      "barrier.cluster.arrive.release.aligned;\n"
      "barrier.cluster.wait.acquire.aligned;\n" ::
          : "memory");
}

// ---- mbarriers: a phase ends when so many arrivals and so many bytes have come

using Barrier = uint64_t;

D2DMOE_HOPPER void barrier_init(Barrier* b, uint32_t arrivals) {
  asm volatile("mbarrier.init.shared::cta.b64 [%0], %1;\n" ::"r"(shared_address(b)), "r"(arrivals)
               : "memory");
}
/// Makes initialised barriers known to the cluster and to asynchronous copies.
D2DMOE_HOPPER void barriers_ready() {
  asm volatile("fence.mbarrier_init.release.cluster;\n" ::: "memory");
}
D2DMOE_HOPPER void arrive(Barrier* b) {
  asm volatile("mbarrier.arrive.shared::cta.b64 _, [%0];\n" ::"r"(shared_address(b)) : "memory");
}
/// Arrives, and lets the phase wait for `bytes` more.
D2DMOE_HOPPER void arrive_expecting(Barrier* b, uint32_t bytes) {
  asm volatile("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;\n" ::"r"(shared_address(b)), "r"(bytes)
               : "memory");
}
/// Arrives at the same barrier of block `rank` of the cluster.
D2DMOE_HOPPER void arrive_at(Barrier* b, uint32_t rank) {
  asm volatile(
      "{\n.reg .b32 there;\n"
      "mapa.shared::cluster.u32 there, %0, %1;\n"
      "mbarrier.arrive.shared::cluster.b64 _, [there];\n}\n" ::"r"(shared_address(b)),
      "r"(rank)
      : "memory");
}
/// Waits until the phase of this parity has ended: 0 for the first, 1 for the second, and so on in turn.
D2DMOE_HOPPER void wait(Barrier* b, uint32_t parity) {
  asm volatile(
      "{\n.reg .pred done;\n"
      "again:\n"
      "mbarrier.try_wait.parity.shared::cta.b64 done, [%0], %1;\n"
      "@!done bra again;\n}\n" ::"r"(shared_address(b)),
      "r"(parity)
      : "memory");
}
/// A barrier of `threads` threads of the block, number 1 … 15.
D2DMOE_HOPPER void meet(int number, int threads) {
  asm volatile("bar.sync %0, %1;\n" ::"r"(number), "r"(threads) : "memory");
}

// ---- copies

/// Arrives at the barrier when the copies that this thread has started by copy_async have come.
D2DMOE_HOPPER void arrive_with_copies(Barrier* b) {
  asm volatile("cp.async.mbarrier.arrive.noinc.shared.b64 [%0];\n" ::"r"(shared_address(b)) : "memory");
}
/// What stores and copy_async have left in shared memory, as far as this thread knows of it, is there for the
/// products that follow.
D2DMOE_HOPPER void stores_before_products() {
  asm volatile("fence.proxy.async.shared::cta;\n" ::: "memory");
}
/// Brings a box of a matrix to shared memory, its corner at (column, line). Its bytes count at `b`; what lies
/// outside the matrix comes as zeros.
D2DMOE_HOPPER void copy_box(void* to, const CUtensorMap* from, int column, int line, Barrier* b) {
  asm volatile(
      "cp.async.bulk.tensor.2d.shared::cluster.global.mbarrier::complete_tx::bytes [%0], [%1, {%2, %3}], "
      "[%4];\n" ::"r"(shared_address(to)),
      "l"(from), "r"(column), "r"(line), "r"(shared_address(b))
      : "memory");
}
/// The same to the same place of every block in `ranks` (a bit each), counted at each one's barrier.
D2DMOE_HOPPER void copy_box_to(uint16_t ranks, void* to, const CUtensorMap* from, int column, int line,
                               Barrier* b) {
  asm volatile(
      "cp.async.bulk.tensor.2d.shared::cluster.global.mbarrier::complete_tx::bytes.multicast::cluster [%0], "
      "[%1, {%2, %3}], [%4], %5;\n" ::"r"(shared_address(to)),
      "l"(from), "r"(column), "r"(line), "r"(shared_address(b)), "h"(ranks)
      : "memory");
}
D2DMOE_HOPPER void prefetch_map(const CUtensorMap* map) {
  asm volatile("prefetch.tensormap [%0];\n" ::"l"(map) : "memory");
}

// ---- products

template <int kRegisters>
D2DMOE_HOPPER void give_registers_back() {
  asm volatile("setmaxnreg.dec.sync.aligned.u32 %0;\n" ::"n"(kRegisters));
}
template <int kRegisters>
D2DMOE_HOPPER void take_registers() {
  asm volatile("setmaxnreg.inc.sync.aligned.u32 %0;\n" ::"n"(kRegisters));
}

/// Lines of 128 bytes in shared memory, as TMA's 128-byte swizzle leaves them: chunk c of line r stands at
/// c ^ (r & 7). Starts at a multiple of 1024.
constexpr int kLine = 128;
D2DMOE_HOPPER uint32_t swizzled(int r, int c) {
  return static_cast<uint32_t>(r * kLine + ((c ^ (r & 7)) << 4));
}
/// How the tensor cores find an operand among such lines.
/// @param apart   bytes between groups of eight lines
/// @param beside  bytes between blocks of 64 columns, where lines are rows of the inner dimension
D2DMOE_HOPPER uint64_t operand(const void* start, uint32_t beside, uint32_t apart) {
  return static_cast<uint64_t>((shared_address(start) & 0x3ffffu) >> 4) |
         static_cast<uint64_t>(beside >> 4) << 16 | static_cast<uint64_t>(apart >> 4) << 32 |
         uint64_t{1} << 62;
}

D2DMOE_HOPPER void products_begin() {
  asm volatile("wgmma.fence.sync.aligned;\n" ::: "memory");
}
D2DMOE_HOPPER void products_commit() {
  asm volatile("wgmma.commit_group.sync.aligned;\n" ::: "memory");
}
template <int kPending>
D2DMOE_HOPPER void products_wait() {
  asm volatile("wgmma.wait_group.sync.aligned %0;\n" ::"n"(kPending) : "memory");
}
/// The compiler is not to move what touches the sums across this place.
template <int kSums>
D2DMOE_HOPPER void hold(float (&sums)[kSums]) {
#pragma unroll
  for (int i = 0; i < kSums; ++i) asm volatile("" : "+f"(sums[i])::"memory");
}

#define D2DMOE_SUMS4(d, i) "+f"(d[i]), "+f"(d[(i) + 1]), "+f"(d[(i) + 2]), "+f"(d[(i) + 3])
#define D2DMOE_SUMS16(d, i) \
  D2DMOE_SUMS4(d, i), D2DMOE_SUMS4(d, (i) + 4), D2DMOE_SUMS4(d, (i) + 8), D2DMOE_SUMS4(d, (i) + 12)
#define D2DMOE_SUMS64(d, i) \
  D2DMOE_SUMS16(d, i), D2DMOE_SUMS16(d, (i) + 16), D2DMOE_SUMS16(d, (i) + 32), D2DMOE_SUMS16(d, (i) + 48)

/// d = a b (+ d where `add`), a [64, 16], b [16, N]: N is 2 kSums. Queued; needs products_begin before and
/// commit and wait after. Lane 4g + t of warp w holds in d[4j + q] row 16w + g (q < 2) or + 8, column 8j + 2t
/// + q % 2. b's lines are its columns (the inner dimension runs along them) or, with kRows, its rows.
template <bool kRows>
D2DMOE_HOPPER void multiply(float (&d)[64], uint64_t a, uint64_t b, bool add, Bf16) {
  asm volatile(
      "{\n.reg .pred add;\nsetp.ne.b32 add, %66, 0;\n"
      "wgmma.mma_async.sync.aligned.m64n128k16.f32.bf16.bf16 {"
      "%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, %16, %17, %18, "
      "%19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31, %32, %33, %34, %35, "
      "%36, %37, %38, %39, %40, %41, %42, %43, %44, %45, %46, %47, %48, %49, %50, %51, %52, "
      "%53, %54, %55, %56, %57, %58, %59, %60, %61, %62, %63"
      "}, %64, %65, add, 1, 1, 0, %67;\n}\n"
      : D2DMOE_SUMS64(d, 0)
      : "l"(a), "l"(b), "r"(static_cast<int>(add)), "n"(kRows ? 1 : 0));
}
template <bool kRows>
D2DMOE_HOPPER void multiply(float (&d)[64], uint64_t a, uint64_t b, bool add, F16) {
  asm volatile(
      "{\n.reg .pred add;\nsetp.ne.b32 add, %66, 0;\n"
      "wgmma.mma_async.sync.aligned.m64n128k16.f32.f16.f16 {"
      "%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, %16, %17, %18, "
      "%19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31, %32, %33, %34, %35, "
      "%36, %37, %38, %39, %40, %41, %42, %43, %44, %45, %46, %47, %48, %49, %50, %51, %52, "
      "%53, %54, %55, %56, %57, %58, %59, %60, %61, %62, %63"
      "}, %64, %65, add, 1, 1, 0, %67;\n}\n"
      : D2DMOE_SUMS64(d, 0)
      : "l"(a), "l"(b), "r"(static_cast<int>(add)), "n"(kRows ? 1 : 0));
}
template <bool kRows>
D2DMOE_HOPPER void multiply(float (&d)[128], uint64_t a, uint64_t b, bool add, Bf16) {
  asm volatile(
      "{\n.reg .pred add;\nsetp.ne.b32 add, %130, 0;\n"
      "wgmma.mma_async.sync.aligned.m64n256k16.f32.bf16.bf16 {"
      "%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, %16, %17, %18, "
      "%19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31, %32, %33, %34, %35, "
      "%36, %37, %38, %39, %40, %41, %42, %43, %44, %45, %46, %47, %48, %49, %50, %51, %52, "
      "%53, %54, %55, %56, %57, %58, %59, %60, %61, %62, %63, %64, %65, %66, %67, %68, %69, "
      "%70, %71, %72, %73, %74, %75, %76, %77, %78, %79, %80, %81, %82, %83, %84, %85, %86, "
      "%87, %88, %89, %90, %91, %92, %93, %94, %95, %96, %97, %98, %99, %100, %101, %102, %103, "
      "%104, %105, %106, %107, %108, %109, %110, %111, %112, %113, %114, %115, %116, %117, "
      "%118, %119, %120, %121, %122, %123, %124, %125, %126, %127"
      "}, %128, %129, add, 1, 1, 0, %131;\n}\n"
      : D2DMOE_SUMS64(d, 0), D2DMOE_SUMS64(d, 64)
      : "l"(a), "l"(b), "r"(static_cast<int>(add)), "n"(kRows ? 1 : 0));
}
template <bool kRows>
D2DMOE_HOPPER void multiply(float (&d)[128], uint64_t a, uint64_t b, bool add, F16) {
  asm volatile(
      "{\n.reg .pred add;\nsetp.ne.b32 add, %130, 0;\n"
      "wgmma.mma_async.sync.aligned.m64n256k16.f32.f16.f16 {"
      "%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, %16, %17, %18, "
      "%19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31, %32, %33, %34, %35, "
      "%36, %37, %38, %39, %40, %41, %42, %43, %44, %45, %46, %47, %48, %49, %50, %51, %52, "
      "%53, %54, %55, %56, %57, %58, %59, %60, %61, %62, %63, %64, %65, %66, %67, %68, %69, "
      "%70, %71, %72, %73, %74, %75, %76, %77, %78, %79, %80, %81, %82, %83, %84, %85, %86, "
      "%87, %88, %89, %90, %91, %92, %93, %94, %95, %96, %97, %98, %99, %100, %101, %102, %103, "
      "%104, %105, %106, %107, %108, %109, %110, %111, %112, %113, %114, %115, %116, %117, "
      "%118, %119, %120, %121, %122, %123, %124, %125, %126, %127"
      "}, %128, %129, add, 1, 1, 0, %131;\n}\n"
      : D2DMOE_SUMS64(d, 0), D2DMOE_SUMS64(d, 64)
      : "l"(a), "l"(b), "r"(static_cast<int>(add)), "n"(kRows ? 1 : 0));
}

}  // namespace d2dmoe::kernels::cuda::hopper
