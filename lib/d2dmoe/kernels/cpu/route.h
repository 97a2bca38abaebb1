#pragma once

#include <cstdint>

#include "d2dmoe/kernels/cpu/expert_mlp_bf16_micro.h"
#include "d2dmoe/kernels/route.h"

namespace d2dmoe::kernels::cpu {

/// Outputs that stand side by side in a router's packed float32 weights.
constexpr int64_t kRoutePanel = 16;

/// One linear layer of a router.
struct RouteLayer {
  const void* panels;  ///< as PackedRouter::Layer, of x's dtype
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

/// By the dtype of x, in the instruction set of isa().
RouteCount route(const RouteArgs& args, MarkRow mark);
/// At least one row, of float32.
RouteCount route_float32(const RouteArgs& args, MarkRow mark);
/// At least one row, of bfloat16.
RouteCount route_bf16(const RouteArgs& args, MarkRow mark, const Bf16Micro& micro);

/// The end of a row: its scores are written and the rule is applied.
/// @param values  [routed experts]
/// @return  chosen experts; -1: a score is not finite, and the mask holds nothing
int64_t finish_routed_row(const RouteArgs& args, int64_t row, const float* values, MarkRow mark);

}  // namespace d2dmoe::kernels::cpu
