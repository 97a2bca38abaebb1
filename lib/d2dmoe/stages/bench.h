#pragma once

#include <filesystem>
#include <functional>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "d2dmoe/bench/layer_shape.h"
#include "d2dmoe/bench/layer_times.h"
#include "d2dmoe/config/experiment.h"

namespace d2dmoe::stages {

/// What `d2dmoe bench` times.
struct BenchRequest {
  std::vector<bench::LayerShape> shapes;  ///< synthetic layers
  std::vector<std::string> masks = {"independent"};
  std::vector<double> shares = {0.05, 0.1, 0.25, 0.5, 1};  ///< executed by synthetic layers, in [0, 1]
  double active = 0.5;                                     ///< see bench::SyntheticOptions
  int64_t copies = 0;  ///< of a synthetic layer's weights; 0 = as many as twice the last-level cache holds

  std::string model;           ///< converted folder whose layers and whole are timed; empty = none
  std::string split = "test";  ///< of the experiment's data, whose rows it sees
  std::string rule;            ///< empty = what the folder holds
  std::vector<double> values;  ///< tau, p or k of that rule: a point each
  std::optional<double> floor;
  std::vector<double> model_shares;  ///< without values: a point for each, placed by the rule's value
  std::vector<int64_t> batches = {1, 8, 64};  ///< examples of a forward pass of the whole model
  std::vector<std::string> sites;             ///< layers that are timed alone; empty = every converted one

  bool ordered = false;  ///< see bench::LayerCase
  std::vector<int64_t> rows = {1, 16, 256, 2048};
  std::string dtype = "float32";
  bench::TimingBudget budget;
};

/// Called with results as they are ready.
struct BenchSeen {
  using Seen = std::function<void(const nlohmann::ordered_json& of, const nlohmann::ordered_json& point)>;
  Seen layer_point;  ///< @param of  the layer without its points
  Seen model_point;  ///< @param of  the model without its points
};

/// Measures the machine's peaks, then every synthetic layer at every share and number of rows, then the
/// folder's layers with their own routers on real rows, and the folder's whole model.
/// @return  {"machine", "peaks", "dtype", "seed", "budget", "formulas",
///           "layers": [{"name", "text", "d_model", "experts", "expert_size", "gated", "activation",
///           "active",
///                       "router_width", "mask", "weight_bytes",
///                       "points": [bench::LayerPoint::to_json (of a folder's layer also "selection")]}],
///           "model": {"folder", "data", "points": [{"selection", "executed_share", "flops_share",
///                     "time": [eval::BatchTiming::to_json](, "decode")}]}}
/// @throws UsageError   values outside their ranges; the folder is not converted
/// @throws Error        a way to compute the layer is wrong: see bench::validate
/// @throws Interrupted  a stop was asked for
nlohmann::ordered_json bench(const config::LoadedExperiment& experiment, const BenchRequest& request,
                             const BenchSeen& seen = {});

/// @throws UsageError  values outside their ranges
void check_request(const BenchRequest& request);

/// Whether bench.json and what stands beside it could be written into `dir`, which need not be there yet.
/// Nothing is written.
/// @throws Error       it cannot be made or written to
/// @throws UsageError  it holds a folder of their names
void check_results_folder(const std::filesystem::path& dir);

/// What --dry-run prints: the layers, the number of points, memory and about how long they take.
/// @throws UsageError, Error  as check_request and check_results_folder
nlohmann::ordered_json plan_bench(const config::LoadedExperiment& experiment, const BenchRequest& request,
                                  const std::string& output_dir);

}  // namespace d2dmoe::stages
