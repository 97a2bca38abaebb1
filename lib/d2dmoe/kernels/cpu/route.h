#pragma once

#include <c10/util/FunctionRef.h>

#include <cstdint>

namespace d2dmoe::kernels::cpu {

/// Outputs that stand side by side in packed router weights.
constexpr int64_t kRoutePanel = 16;

/// One linear layer of a router.
struct RouteLayer {
  const float* panels;  ///< [ceil(outputs / 16), inputs + 1, 16], outputs beyond the last are zero
  int64_t inputs, outputs;
};

/// Raw pointers and sizes of one kernels::route call.
struct RouteArgs {
  const void* x = nullptr;  ///< [rows, inputs of the first layer], rows x_stride elements apart
  bool bfloat16 = false;    ///< x is bfloat16, else float32
  int64_t rows = 0, x_stride = 0;
  const RouteLayer* layers = nullptr;  ///< [depth]
  int64_t depth = 0;
  int64_t shared = 0, experts = 0;  ///< experts counts the shared ones too
  float* scores = nullptr;          ///< [rows, experts]
  bool* mask = nullptr;             ///< [rows, experts]
};

struct RouteCount {
  int64_t pairs;  ///< chosen (row, expert) pairs
  bool usable;    ///< every score is finite
};

RouteCount route(const RouteArgs& args, c10::function_ref<void(const float* scores, bool* mask)> mark);

}  // namespace d2dmoe::kernels::cpu
