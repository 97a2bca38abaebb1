#pragma once

#include <map>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "d2dmoe/config/experiment.h"

namespace d2dmoe::stages {

/// What a start of each stage would find in its folder: the keys "state" and "step" or "refusal" of plan().
/// @param stages  in their order
/// @throws Error  a folder cannot be made or written, or another process has it
std::map<std::string, nlohmann::ordered_json> states_of(const config::LoadedExperiment& experiment,
                                                        const std::vector<std::string>& stages);

}  // namespace d2dmoe::stages
