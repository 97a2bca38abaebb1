#include "d2dmoe/moe/device_route.h"

#include <ATen/ATen.h>
#include <ATen/autocast_mode.h>
#include <c10/core/DeviceGuard.h>

#include <cmath>

#include "d2dmoe/core/error.h"
#include "d2dmoe/kernels/cuda/route.h"
#include "d2dmoe/kernels/device_call.h"

namespace d2dmoe::moe {
namespace {

using kernels::cuda::RouteArgs;
using kernels::cuda::RouteRule;

std::optional<RouteRule> rule_of(const Selection& selection) {
  if (selection.rule == "dynamic_k") return RouteRule::dynamic_k;
  if (selection.rule == "cumulative") return RouteRule::cumulative;
  if (selection.rule == "top_k") return RouteRule::top_k;
  return std::nullopt;
}

bool readable(const torch::Tensor& weight, const torch::Tensor& x) {
  return weight.scalar_type() == at::kFloat && weight.device() == x.device() && weight.is_contiguous();
}

}  // namespace

std::optional<kernels::Routing> route_on_device(const torch::Tensor& x, const Router& router,
                                                const Selection& selection, int64_t shared,
                                                double mean_norm) {
  const auto rule = rule_of(selection);
  const auto element = kernels::element_of(x.scalar_type());
  if (!x.is_cuda() || !rule || !element || at::GradMode::is_enabled() ||
      at::autocast::is_autocast_enabled(at::kCUDA))
    return std::nullopt;
  const c10::DeviceGuard guard(x.device());
  RouteArgs args;
  args.rows = x.size(0), args.d_in = x.size(1), args.width = router.width();
  args.experts = router.experts() + shared, args.shared = shared,
  args.depth = static_cast<int>(router.depth());
  if (args.d_in != router.d_in() || !kernels::cuda::can_route(args)) return std::nullopt;
  for (int i = 0; i < args.depth; ++i) {
    const torch::Tensor& weight = router.weights()[static_cast<size_t>(i)];
    if (!readable(weight, x)) return std::nullopt;
    args.weights[i] = weight.const_data_ptr<float>();
  }
  check_selection(selection, router.experts());
  args.rule = *rule, args.value = selection.value, args.element = *element;
  args.floor = static_cast<float>(selection.floor * mean_norm);
  D2D_CHECK(std::isfinite(args.floor), "[selection] '{}': got floor {} times mean norm {}, must be finite",
            selection.rule, selection.floor, mean_norm);

  const torch::Tensor rows = x.stride(1) == 1 || x.size(1) <= 1 ? x : x.contiguous();
  kernels::Routing routing{at::empty({args.rows, args.experts}, x.options().dtype(at::kFloat)),
                           at::empty({args.rows, args.experts}, x.options().dtype(at::kBool))};
  args.x = rows.const_data_ptr(), args.x_stride = rows.stride(0);
  args.scores = routing.scores.mutable_data_ptr<float>();
  args.mask = reinterpret_cast<uint8_t*>(routing.mask.mutable_data_ptr<bool>());
  const torch::Tensor hidden =
      at::empty({kernels::cuda::route_workspace(args)}, x.options().dtype(at::kFloat));
  args.hidden = hidden.mutable_data_ptr<float>();
  const char* failure = kernels::cuda::route(args, kernels::stream_of(x));
  D2D_CHECK(!failure, "[route] on {}: {}", x.device().str(), failure);
  return routing;
}

}  // namespace d2dmoe::moe
