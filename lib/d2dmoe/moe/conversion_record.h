#pragma once

#include <torch/types.h>

#include <filesystem>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "d2dmoe/moe/selection.h"

namespace d2dmoe::moe {

/// What d2dmoe.json says of one site.
struct SiteRecord {
  std::string name;
  std::string kind;  ///< nn::site_kind_name
  int64_t layer = 0;
  int64_t experts = 0, expert_size = 0, shared = 0;
  int64_t router_width = 0, router_depth = 0;
  std::string split;  ///< a name of config::kSplits
  double mean_norm = 0;
  Selection selection;
  torch::Tensor permutation;  ///< [F] int64: place i is neuron permutation[i] of the parent
};

/// d2dmoe.json of a converted folder.
struct ConversionRecord {
  static constexpr int64_t kFormatVersion = 1;
  nlohmann::ordered_json parent;  ///< {"path", "weights_sha256", …}
  std::string weights_sha256;     ///< of this folder's weights (io::HfFolder::weights_hash)
  std::vector<SiteRecord> sites;
};

nlohmann::ordered_json to_json(const ConversionRecord& record);
nlohmann::ordered_json to_json(const Selection& selection);

/// Reads and checks the file for itself: every key there and of its type, sizes that fit together,
/// permutations that are permutations, selections within their range. Whether it fits the weights is
/// load_any's to see.
/// @throws Error  names the file, the site and the key
ConversionRecord read_conversion_record(const std::filesystem::path& file);

}  // namespace d2dmoe::moe
