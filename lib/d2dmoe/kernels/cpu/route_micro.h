#pragma once

#include <cstdint>

namespace d2dmoe::kernels::cpu {

/// What a router's layer does with its sums: nothing is kept below 0 (NaN is), or the sign goes.
enum class RouteEnd { relu, magnitude };

/// The product of a router's layer, for one instruction set. Every sum runs over the inputs in order, so an
/// output does not depend on the rows beside it.
struct RouteMicro {
  const char* name;  ///< as cpu::Micro's
  /// z[r * z_stride + j] = end(sum_k x[r][k] * w_jk) for all outputs of `panels` panels.
  /// @param w  [panels, d_in + 1, 16]
  void (*product)(const float* const* x, int64_t rows, int64_t d_in, const float* w, int64_t panels, float* z,
                  int64_t z_stride, RouteEnd end);
};

extern const RouteMicro kRouteMicroPortable, kRouteMicroAvx2, kRouteMicroAvx512;

}  // namespace d2dmoe::kernels::cpu
