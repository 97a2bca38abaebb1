#pragma once

#include <algorithm>
#include <cmath>
#include <numbers>
#include <string>

#include "d2dmoe/core/error.h"

namespace d2dmoe::train {

/// Factor on the learning rate at a step, as transformers' get_{linear,cosine,constant}_schedule_with_warmup:
/// the first step of a warm-up has factor 0.
/// @param name    of config::kLrSchedules
/// @param step    0 … total-1: optimiser steps already done
/// @param warmup  steps of linear warm-up
/// @return        in [0, 1]
/// @throws Error  another name
inline double lr_factor(const std::string& name, int64_t step, int64_t warmup, int64_t total) {
  if (step < warmup) return static_cast<double>(step) / static_cast<double>(warmup);
  if (name == "constant") return 1.0;
  const double left =
      static_cast<double>(total - step) / static_cast<double>(std::max<int64_t>(1, total - warmup));
  if (name == "linear") return std::max(0.0, left);
  D2D_CHECK(name == "cosine", "[train] 'schedule': got '{}', must be linear, cosine or constant", name);
  return step >= total ? 0.0 : 0.5 * (1.0 + std::cos(std::numbers::pi * (1.0 - left)));
}

/// Warm-up steps of a share of the run, rounded up.
inline int64_t warmup_steps(double share, int64_t total) {
  return std::min<int64_t>(total, static_cast<int64_t>(std::ceil(share * static_cast<double>(total))));
}

}  // namespace d2dmoe::train
