#pragma once

#include <map>
#include <string>
#include <vector>

#include "d2dmoe/cluster/split.h"
#include "d2dmoe/config/options.h"
#include "d2dmoe/data/dataset.h"
#include "d2dmoe/models/model.h"

namespace d2dmoe::stages {

/// Examples of a batch that calibrates a split.
inline constexpr int64_t kCalibrationBatch = 64;

/// How each site's neurons are split into experts, by site name.
using ExpertSplits = std::map<std::string, cluster::Split>;

/// Checks before any work that every site can be split as the options ask.
/// @throws UsageError  experts do not divide a site's neurons; experts_per_site names a site that is not
/// converted
void check_split_options(const std::vector<nn::Site*>& sites, const config::ConvertOptions& options);

/// Splits the neurons of every site; the statistics that the split needs come from calibration sentences of
/// the training data, drawn by the seed.
/// @param sites  dense sites of `model`, which is in evaluation mode on `device`
ExpertSplits split_sites(models::Model& model, const std::vector<nn::Site*>& sites, const data::Splits& data,
                         const config::ConvertOptions& options, uint64_t seed, torch::Device device);

/// Keeps splits in a file, so that a resumed conversion need not search again. Reading gives nothing when the
/// file is missing.
void save_splits(const std::filesystem::path& file, const ExpertSplits& splits);
ExpertSplits load_splits(const std::filesystem::path& file);

}  // namespace d2dmoe::stages
