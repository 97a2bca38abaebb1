#pragma once

#include <nlohmann/json.hpp>
#include <string>

#include "d2dmoe/config/experiment.h"

namespace d2dmoe::stages {

/// A finished stage's result for people: a few lines, for the sweep the table of its points.
std::string summary(const std::string& stage, const config::LoadedExperiment& experiment,
                    const nlohmann::ordered_json& result);

}  // namespace d2dmoe::stages
