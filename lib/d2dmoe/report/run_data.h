#pragma once

#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include "d2dmoe/report/json_access.h"

namespace d2dmoe::report {

/// What one stage left behind.
struct StageData {
  Json config, result;       ///< objects; null when not there
  std::vector<Json> events;  ///< metrics.jsonl
  Json conversion;           ///< convert.json
  Json points;               ///< array: points.jsonl, else the result's
  Json dense;                ///< the sweep's baseline
  Json calibrated;           ///< the sweep's per-site setting, and what it was measured to do; null = none
  std::vector<Json> marked;  ///< the sweep's points beside the curve: every expert on, calibrated
};

/// What one run left behind, as far as it can be read.
struct RunData {
  std::string name;
  std::filesystem::path dir;
  std::map<std::string, StageData> stages;
  std::vector<std::string> warnings;  ///< files that are there and cannot be read
  std::vector<std::string> missing;   ///< stages and files that are not there

  const StageData* stage(const std::string& name) const;
};

/// The stages in the order in which they run.
extern const std::vector<std::string> kStages;

/// @param dir  an experiment's folder or a stage's
/// @throws UsageError  it is no folder
RunData read_run(const std::filesystem::path& dir);

}  // namespace d2dmoe::report
