#pragma once

#include <torch/types.h>

#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "d2dmoe/report/compute_map.h"

namespace d2dmoe::stages {

struct MapRequest {
  std::vector<std::string> images;  ///< paths; none = no maps
  std::string rule;                 ///< empty = what the folder holds
  std::optional<double> value, floor;
  int64_t decode_threads = 0;  ///< 0 = one per core
  torch::Device device = torch::kCPU;
};

/// The folder of a run's converted vision model, or "" where it has none.
/// @param run  an experiment's folder or its convert stage
std::filesystem::path map_model(const std::filesystem::path& run);

/// Runs the pictures through the converted vision model of every run that has one.
/// @throws UsageError  there are pictures, but no run has such a model
/// @throws Error       a picture cannot be read
std::vector<report::ModelMaps> compute_maps(const MapRequest& request,
                                            const std::vector<std::filesystem::path>& runs);

}  // namespace d2dmoe::stages
