#pragma once

#include <type_traits>

#include "d2dmoe/kernels/cuda/plan.h"
#include "d2dmoe/kernels/cuda/select.h"

/// Router and selection in one kernel: a block scores 16 or 32 rows, layer after layer in shared memory, and
/// a warp per row selects.
namespace d2dmoe::kernels::cuda::D2DMOE_SIMT {

constexpr int kMostRouted = 1024;  // outputs of a layer; with 16 rows two layers are 129 KiB

/// Two numbers as the upper and lower bfloat16 halves of each: v = upper + lower to about 16 bits.
struct SplitPair {
  uint32_t upper, lower;
};
D2DMOE_DEVICE SplitPair split(float v0, float v1) {
  Bf16 upper[2], lower[2];
  store(&upper[0], v0);
  store(&upper[1], v1);
  store(&lower[0], v0 - to_float(upper[0]));
  store(&lower[1], v1 - to_float(upper[1]));
  return {upper[0].bits | static_cast<uint32_t>(upper[1].bits) << 16,
          lower[0].bits | static_cast<uint32_t>(lower[1].bits) << 16};
}

/// One linear layer for the block's rows.
struct RouteLayer {
  const float* weights;  // [outputs, inputs]
  int inputs, outputs;
  float* to;  // [rows of the block, apart]
  int apart;
  bool last;  // absolute value instead of ReLU
};

/// out = f(in weights^T), 16 kA rows. Warps take 16 outputs at a time.
/// @param in  a functor: element k of row r as float, 0 where there is none
/// @param kExact  the inputs are bfloat16 numbers: their lower halves are 0
template <int kA, bool kExact, class In>
D2DMOE_DEVICE void route_layer(const RouteLayer& l, In in) {
  const int lane = static_cast<int>(threadIdx.x) % 32, warp = static_cast<int>(threadIdx.x) / 32;
  const int g = lane / 4, t = lane % 4;
  const auto weight = [&](int n, int k) {
    return n < l.outputs && k < l.inputs ? l.weights[static_cast<int64_t>(n) * l.inputs + k] : 0.0f;
  };
  for (int first = 16 * warp; first < l.outputs; first += 16 * kWarps) {
    float sums[kA][2][4] = {};
    for (int k = 2 * t; k < l.inputs + 2 * t; k += 16) {
      SplitPair b[2][2];
#pragma unroll
      for (int j = 0; j < 2; ++j)
#pragma unroll
        for (int h = 0; h < 2; ++h) {
          const int n = first + 8 * j + g;
          b[j][h] = split(weight(n, k + 8 * h), weight(n, k + 8 * h + 1));
        }
#pragma unroll
      for (int i = 0; i < kA; ++i) {
        uint32_t upper[4], lower[4];
#pragma unroll
        for (int q = 0; q < 4; ++q) {
          const int r = 16 * i + g + 8 * (q % 2), at = k + 8 * (q / 2);
          const SplitPair a = split(in(r, at), in(r, at + 1));
          upper[q] = a.upper;
          lower[q] = a.lower;
        }
#pragma unroll
        for (int j = 0; j < 2; ++j) {
          // The small products first: they would drown in a large sum.
          multiply(sums[i][j], upper, b[j][0].lower, b[j][1].lower, Bf16{});
          if (!kExact) multiply(sums[i][j], lower, b[j][0].upper, b[j][1].upper, Bf16{});
          multiply(sums[i][j], upper, b[j][0].upper, b[j][1].upper, Bf16{});
        }
      }
    }
#pragma unroll
    for (int i = 0; i < kA; ++i)
#pragma unroll
      for (int j = 0; j < 2; ++j)
#pragma unroll
        for (int q = 0; q < 4; ++q) {
          const int r = 16 * i + g + 8 * (q / 2), n = first + 8 * j + 2 * t + q % 2;
          const float v = sums[i][j][q];
          if (n < l.outputs) l.to[r * l.apart + n] = l.last ? fabsf(v) : v < 0 ? 0.0f : v;  // both keep NaN
        }
  }
}

/// Grid: blocks of 16 kA rows.
/// @param apart  floats from one row of a layer's outputs to the next
template <class T, int kA>
__global__ void __launch_bounds__(kThreads) route_rows(RouteArgs a, int apart) {
  constexpr int kRows = 16 * kA;
  constexpr bool kExact = std::is_same<T, Bf16>::value;
  float* outputs[2] = {reinterpret_cast<float*>(dynamic_shared()), nullptr};
  outputs[1] = outputs[0] + kRows * apart;
  const int64_t first = static_cast<int64_t>(blockIdx.x) * kRows;
  const T* x = static_cast<const T*>(a.x);
  const int inputs = static_cast<int>(a.d_in), routed = static_cast<int>(a.experts - a.shared);

  const auto of_layer = [&](int i) {
    const bool last = i == a.depth - 1;
    return RouteLayer{a.weights[i],
                      static_cast<int>(i == 0 ? a.d_in : a.width),
                      static_cast<int>(last ? a.experts - a.shared : a.width),
                      outputs[i % 2],
                      apart,
                      last};
  };
  route_layer<kA, kExact>(of_layer(0), [=](int r, int k) {
    return first + r < a.rows && k < inputs ? to_float(x[(first + r) * a.x_stride + k]) : 0.0f;
  });
  for (int i = 1; i < a.depth; ++i) {
    __syncthreads();
    const float* in = outputs[(i - 1) % 2];
    const int width = static_cast<int>(a.width);
    route_layer<kA, false>(of_layer(i), [=](int r, int k) { return k < width ? in[r * apart + k] : 0.0f; });
  }
  __syncthreads();

  const float* all = outputs[(a.depth - 1) % 2];
  const int lane = static_cast<int>(threadIdx.x) % 32, warp = static_cast<int>(threadIdx.x) / 32;
  for (int r = warp; r < kRows && first + r < a.rows; r += kWarps) {
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
    for (unsigned d = 16; d > 0; d /= 2) best = fmaxf(best, __shfl_xor_sync(0xffffffffu, best, d));
    if (__ballot_sync(0xffffffffu, nan) != 0) best = NAN;
    for (int e = lane; e < a.shared; e += 32) {
      mask[e] = 1;
      out[e] = best;
    }
  }
}

inline int64_t widest_layer(const RouteArgs& a) {
  return a.depth > 1 && a.width > a.routed() ? a.width : a.routed();
}

// Rows of a block differ by 4 floats in their bank: the 8 rows that a warp reads together lie in 32 banks.
inline int route_apart(const RouteArgs& a) {
  return static_cast<int>(tiles(widest_layer(a), 32) * 32 + 4);
}
/// Shared memory of a block of so many rows.
inline int route_shared(const RouteArgs& a, int rows) {
  return 2 * rows * route_apart(a) * 4;
}

/// On the current device.
inline bool route_fits(const RouteArgs& a) {
  return a.depth >= 1 && a.depth <= RouteArgs::kMostLayers && a.routed() >= 1 &&
         widest_layer(a) <= kMostRouted && a.d_in <= INT32_MAX / 2 &&
         route_shared(a, 16) <= most_shared_bytes();
}

/// @param args  its element is T, route_fits(args)
template <class T>
const char* run_route(const RouteArgs& a, void* stream) {
  if (a.rows == 0) return nullptr;
  const auto queue = [&](auto kernel, int rows) {
    return launch(kernel, dim3(static_cast<unsigned>(tiles(a.rows, rows))), dim3(kThreads),
                  route_shared(a, rows), stream, a, route_apart(a));
  };
  // More rows read the router's weights less often, as long as they fit.
  const bool wide = widest_layer(a) <= kMostRouted / 2 && route_shared(a, 32) <= most_shared_bytes();
  return wide ? queue(route_rows<T, 2>, 32) : queue(route_rows<T, 1>, 16);
}

}  // namespace d2dmoe::kernels::cuda::D2DMOE_SIMT
