#pragma once

#include <nlohmann/json.hpp>
#include <optional>
#include <string>

#include "d2dmoe/config/experiment.h"

namespace d2dmoe::stages {

/// What `d2dmoe eval` measures; empty fields = what the folder and the experiment say.
struct EvalRequest {
  std::string model;  ///< folder; empty = the furthest finished stage's
  std::string split = "test";
  std::string rule;
  std::optional<double> value, floor;
};

/// Quality (every metric of the task, the chosen one with its interval) and cost of one model folder.
/// @throws UsageError  not train, validation or test
void check_split_name(const std::string& split);
nlohmann::ordered_json evaluate(const config::LoadedExperiment& experiment, const EvalRequest& request);
std::string evaluation_text(const nlohmann::ordered_json& result);

}  // namespace d2dmoe::stages
