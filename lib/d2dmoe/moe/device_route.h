#pragma once

#include <optional>

#include "d2dmoe/kernels/route.h"
#include "d2dmoe/moe/router.h"
#include "d2dmoe/moe/selection.h"

namespace d2dmoe::moe {

/// Router and selection in a CUDA kernel per layer of the router, without waiting for the device.
/// @param x          [N, D] on a CUDA device, float32, bfloat16 or float16, like the router's weights but for
/// the type
/// @param shared     experts before the routed ones: always chosen, with the row's largest score
/// @param mean_norm  as select
/// @return           uncounted pairs; nothing where no kernels do it: no CUDA, oracle rules and "all", sizes
/// beyond the kernels', a
///                   gradient wanted, autocast
/// @throws Error     as check_selection
/// @ref docs/method.md §4, §6; docs/cuda.md
std::optional<kernels::Routing> route_on_device(const torch::Tensor& x, const Router& router,
                                                const Selection& selection, int64_t shared, double mean_norm);

}  // namespace d2dmoe::moe
