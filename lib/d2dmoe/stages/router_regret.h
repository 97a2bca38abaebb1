#pragma once

#include <string>
#include <vector>

#include "d2dmoe/data/dataset.h"
#include "d2dmoe/models/model.h"

namespace d2dmoe::stages {

/// What the routers' choice costs on the task at one executed share.
struct Regret {
  double executed = 0;  ///< share of the experts that both executed, about
  double router_metric = 0, oracle_metric = 0;
};

/// Evaluates the model under dynamic_k with its routers and with the true norms, each with the tau that
/// executes the same share.
/// @param dataset  held-out sentences; the first few hundred are used
/// @param metric   of config::kMetrics
/// @ref docs/method.md §4 (c)
std::vector<Regret> router_regret(models::Model& model, const data::Dataset& dataset,
                                  const std::string& metric, uint64_t seed, torch::Device device);

}  // namespace d2dmoe::stages
