#pragma once

#include <cstdint>

#include "d2dmoe/kernels/expert_mlp_args.h"

namespace d2dmoe::kernels::cuda {

/// The selection rules that a kernel can apply to scores which it has just made (docs/method.md §6).
enum class RouteRule : uint8_t { dynamic_k, cumulative, top_k };

/// Raw pointers and sizes of one call that scores the experts of every row and selects: a router of `depth`
/// linear layers without biases, ReLU between them, absolute values at the end. No torch here: .cu files see
/// this.
struct RouteArgs {
  static constexpr int kMostLayers = 4;

  const void* x = nullptr;  ///< [rows, d_in] of type `element`, rows x_stride elements apart
  const float* weights[kMostLayers] =
      {};                   ///< [width, d_in], [width, width] …, the last [experts - shared, …]
  uint8_t* mask = nullptr;  ///< [rows, experts], written: 0 or 1
  float* scores = nullptr;  ///< [rows, experts], written: >= 0
  float* hidden = nullptr;  ///< route_workspace(…) floats, 16-byte aligned
  int64_t rows = 0, x_stride = 0, d_in = 0, width = 0, experts = 0;
  int64_t shared = 0;  ///< the first experts run always; their score is the row's largest
  int depth = 0;
  RouteRule rule = RouteRule::dynamic_k;
  double value = 0;  ///< tau, p or k
  float floor = 0;   ///< least score that may run
  Element element = Element::float32;

  int64_t routed() const { return experts - shared; }
};

/// Floats that a call needs for the outputs of hidden layers.
inline int64_t route_workspace(const RouteArgs& args) {
  return args.rows * args.width * (args.depth > 2 ? 2 : args.depth > 1 ? 1 : 0);
}
/// Whether the route kernels are built and take these sizes on the current device: at most
/// RouteArgs::kMostLayers layers, 1024 experts and hidden layers of 65535.
bool can_route(const RouteArgs& args);
/// Scores and selects, a kernel a layer, on device pointers of the current device; queues and returns, as
/// expert_mlp. The products run on tensor cores with each factor split into two bfloat16 numbers: about 16
/// bits of every factor count, so a score may differ from float32's by 1e-5 of the largest terms. A row with
/// a score that is NaN or infinite runs the shared experts only.
/// @param args  can_route(args)
/// @return      nullptr, or why it failed
const char* route(const RouteArgs& args, void* stream);

}  // namespace d2dmoe::kernels::cuda
