#pragma once

#include <torch/types.h>

#include <vector>

#include "d2dmoe/moe/router.h"

namespace d2dmoe::moe {

/// Share of the sum of norms that lies in the executed experts, at one executed share.
struct CapturedNormMass {
  double executed = 0;  ///< executed experts as a share of all
  double router = 0;    ///< chosen by the router
  double oracle = 0;    ///< chosen by the true norms, equally many
};

/// How well a router predicts, on rows that it was not trained on.
/// @ref docs/method.md §4 (a), (b)
struct RouterQuality {
  double mse = 0;
  double mse_of_mean = 0;  ///< of predicting each expert's mean
  std::vector<CapturedNormMass> captured;
  std::vector<double> expert_use;  ///< [E] share of rows on which the expert's norm is above 0
  int64_t rows = 0;
};

/// The executed shares at which captured norm mass is reported.
const std::vector<double>& captured_shares();

/// Captured norm mass under dynamic_k: thresholds on R / row maximum, matched so that each share of all
/// experts of all rows is executed exactly.
/// @param predicted, norms  [N, E] float32
std::vector<CapturedNormMass> captured_norm_mass(const torch::Tensor& predicted, const torch::Tensor& norms,
                                                 const std::vector<double>& shares);

/// @param inputs   [N, D], any float dtype
/// @param targets  [N, E] float32, in the unit that the router predicts
/// @param mean     [E] what a constant prediction would be (the training rows' mean)
RouterQuality router_quality(const Router& router, const torch::Tensor& inputs, const torch::Tensor& targets,
                             const torch::Tensor& mean);

}  // namespace d2dmoe::moe
