#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "d2dmoe/config/experiment.h"

namespace d2dmoe::stages {

/// What the given stages would do, without doing it: parameters, sites and experts, examples, FLOPs of one,
/// steps, memory and an estimate of the time (from a short measurement of this machine's matrix product).
/// Reads headers, never weights.
/// @throws UsageError  what the stages themselves would refuse at their start: a missing folder or data file,
/// experts
///                     that do not divide the hidden width
nlohmann::ordered_json plan(const config::LoadedExperiment& experiment,
                            const std::vector<std::string>& stages);

/// The plan for people.
std::string plan_text(const nlohmann::ordered_json& plan);

}  // namespace d2dmoe::stages
