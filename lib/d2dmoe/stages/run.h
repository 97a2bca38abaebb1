#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "d2dmoe/config/experiment.h"

namespace d2dmoe::stages {

/// The stages that the config file holds, in the order in which they run.
std::vector<std::string> stage_order(const config::LoadedExperiment& experiment);

/// Runs one stage by its name in the config ("train_sparse").
nlohmann::ordered_json run_stage(const std::string& stage, const config::LoadedExperiment& experiment);

/// Runs all stages of the config, each where it stopped, and writes <output_dir>/report.html.
/// @return  stage name -> result
nlohmann::ordered_json run(const config::LoadedExperiment& experiment);

/// Every stage's summary and where the curve and the report lie.
std::string run_text(const config::LoadedExperiment& experiment, const nlohmann::ordered_json& results);

}  // namespace d2dmoe::stages
