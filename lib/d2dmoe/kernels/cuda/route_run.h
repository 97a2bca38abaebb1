#pragma once

#include "d2dmoe/kernels/cuda/route_product.h"
#include "d2dmoe/kernels/cuda/select.h"

/// Router and selection: a kernel for every hidden layer, whose blocks share rows and outputs, and one in
/// which a block scores all experts of 16 or 32 rows and a warp per row selects.
namespace d2dmoe::kernels::cuda::D2DMOE_SIMT {

constexpr int kMostRouted = 1024;  // experts; 16 rows of their scores are 64 KiB
constexpr int kSelectWarps = 4;    // of a block of route_select

/// Grid: (tiles of rows, tiles of outputs).
/// @param out  [rows, outputs]
template <class In, int kA, int kWarpsHere, bool kAligned>
__global__ void __launch_bounds__(32 * kWarpsHere) route_hidden(RouteLayer<In> l, float* out) {
  using Product = RouteProduct<In, kA, kWarpsHere, kAligned>;
  let_next_start();
  wait_for_previous();
  const int64_t first = static_cast<int64_t>(blockIdx.x) * Product::kRows;
  Product(l, first, dynamic_shared()).run(blockIdx.y, 1, [&](int r, int n, float v) {
    if (first + r < l.rows) out[(first + r) * l.outputs + n] = v < 0 ? 0.0f : v;  // keeps NaN
  });
}

/// Grid: tiles of rows. The router's last layer, and the rule.
/// @param apart  floats from one row's scores to the next
template <class In, int kA, bool kAligned>
__global__ void __launch_bounds__(32 * kSelectWarps) route_select(RouteLayer<In> l, RouteArgs a, int apart) {
  using Product = RouteProduct<In, kA, kSelectWarps, kAligned>;
  wait_for_previous();
  const int64_t first = static_cast<int64_t>(blockIdx.x) * Product::kRows;
  float* all = reinterpret_cast<float*>(dynamic_shared() + Product::kBytes);
  Product(l, first, dynamic_shared())
      .run(0, static_cast<int>(tiles(l.outputs, Product::kOutputs)),
           [&](int r, int n, float v) { all[r * apart + n] = fabsf(v); });
  __syncthreads();

  const int lane = static_cast<int>(threadIdx.x) % 32, warp = static_cast<int>(threadIdx.x) / 32;
  const int routed = l.outputs;
  for (int r = warp; r < Product::kRows && first + r < a.rows; r += kSelectWarps) {
    const float* scores = all + r * apart;
    uint8_t* mask = a.mask + (first + r) * a.experts;
    float* out = a.scores + (first + r) * a.experts;
    select_row(scores, routed, a.rule, a.value, a.floor, mask + a.shared);
    float best = 0;
    bool nan = false;
    for (int e = lane; e < routed; e += 32) {
      out[a.shared + e] = scores[e];
      nan = nan || scores[e] != scores[e];
      best = fmaxf(best, scores[e]);
    }
    if (a.shared == 0) continue;
    for (unsigned d = 16; d > 0; d /= 2) best = fmaxf(best, __shfl_xor_sync(0xffffffffu, best, d));
    if (__ballot_sync(0xffffffffu, nan) != 0) best = NAN;
    for (int e = lane; e < a.shared; e += 32) {
      mask[e] = 1;
      out[e] = best;
    }
  }
}

// Rows differ by 4 floats in their bank: of the 8 rows that a warp writes together, two share a bank at most.
inline int route_apart(const RouteArgs& a) {
  return static_cast<int>(tiles(a.routed(), 32) * 32 + 4);
}
/// Shared memory of a block of route_select of 16 kA rows.
template <class In, int kA>
int route_select_shared(const RouteArgs& a) {
  return RouteProduct<In, kA, kSelectWarps, true>::kBytes + 16 * kA * route_apart(a) * 4;
}

/// On the current device.
inline bool route_fits(const RouteArgs& a) {
  constexpr int64_t kMostWide = int64_t{1} << 30;
  return a.depth >= 1 && a.depth <= RouteArgs::kMostLayers && a.routed() >= 1 && a.routed() <= kMostRouted &&
         a.d_in <= kMostWide && (a.depth == 1 || a.width <= 65535) &&
         route_select_shared<float, 1>(a) <= most_shared_bytes();
}

/// The layers of one call.
struct RouteRun {
  const RouteArgs& a;
  void* stream;
  bool early = starts_early();

  template <class In>
  RouteLayer<In> layer(int i, const In* in, int64_t stride) const {
    return {in,
            stride,
            a.rows,
            a.weights[i],
            static_cast<int>(i == 0 ? a.d_in : a.width),
            static_cast<int>(i == a.depth - 1 ? a.routed() : a.width)};
  }
  template <class In>
  static bool aligned(const RouteLayer<In>& l) {
    const auto whole = [](const void* p, int64_t bytes) {
      return reinterpret_cast<uintptr_t>(p) % sizeof(Chunk) == 0 && bytes % sizeof(Chunk) == 0;
    };
    return whole(l.in, l.stride * static_cast<int64_t>(sizeof(In))) &&
           whole(l.weights, 4 * int64_t{l.inputs});
  }

  template <class In, int kA, int kWarpsHere>
  const char* hidden_tiles(const RouteLayer<In>& l, float* out, bool follows) const {
    using Product = RouteProduct<In, kA, kWarpsHere, true>;
    const dim3 grid(static_cast<unsigned>(tiles(l.rows, Product::kRows)),
                    static_cast<unsigned>(tiles(l.outputs, Product::kOutputs)));
    return launch_early(
        early && follows,
        aligned(l) ? route_hidden<In, kA, kWarpsHere, true> : route_hidden<In, kA, kWarpsHere, false>, grid,
        dim3(32 * kWarpsHere), Product::kBytes, stream, l, out);
  }
  /// @param follows  what it reads was queued just before
  template <class In>
  const char* hidden(const RouteLayer<In>& l, float* out, bool follows) const {
    // Small tiles where blocks would be fewer than multiprocessors, large ones where what counts is how often
    // weights and rows are read.
    constexpr int64_t kFew = 128, kSome = 1024, kMany = 8192;
    if (a.rows <= kFew) return hidden_tiles<In, 1, 2>(l, out, follows);
    if (a.rows <= kSome) return hidden_tiles<In, 2, 4>(l, out, follows);
    if constexpr (sizeof(In) == 2)
      if (a.rows > kMany) return hidden_tiles<In, 8, 8>(l, out, follows);
    return hidden_tiles<In, 4, 8>(l, out, follows);
  }

  template <class In, int kA>
  const char* select_tiles(const RouteLayer<In>& l) const {
    return launch_early(early && a.depth > 1,
                        aligned(l) ? route_select<In, kA, true> : route_select<In, kA, false>,
                        dim3(static_cast<unsigned>(tiles(a.rows, 16 * kA))), dim3(32 * kSelectWarps),
                        route_select_shared<In, kA>(a), stream, l, a, route_apart(a));
  }
  template <class In>
  const char* select(const RouteLayer<In>& l) const {
    constexpr int64_t kMany = 8192;
    const bool wide = a.rows > kMany && route_select_shared<In, 2>(a) <= most_shared_bytes() / 2;
    return wide ? select_tiles<In, 2>(l) : select_tiles<In, 1>(l);
  }

  template <class T>
  const char* all() const {
    if (a.rows == 0) return nullptr;
    const RouteLayer<T> first = layer(0, static_cast<const T*>(a.x), a.x_stride);
    if (a.depth == 1) return select(first);
    float* out = a.hidden;
    if (const char* error = hidden(first, out, false)) return error;
    for (int i = 1; i < a.depth - 1; ++i) {
      float* in = out;
      out = a.hidden + (i % 2) * a.rows * a.width;
      if (const char* error = hidden(layer<float>(i, in, a.width), out, true)) return error;
    }
    return select(layer<float>(a.depth - 1, out, a.width));
  }
};

/// @param args  its element is T, route_fits(args)
template <class T>
const char* run_route(const RouteArgs& args, void* stream) {
  return RouteRun{args, stream}.all<T>();
}

}  // namespace d2dmoe::kernels::cuda::D2DMOE_SIMT
