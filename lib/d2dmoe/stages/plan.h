#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "d2dmoe/config/experiment.h"

namespace d2dmoe::stages {

/// What the given stages would do, without doing it: parameters, sites and experts, examples, FLOPs of one,
/// steps, memory and an estimate of the time (from a short measurement of this machine's matrix product in
/// the dtype that the stage runs in). Reads headers, never weights, but for the hash that a stage which has
/// begun holds its start model against. Nothing is written.
///
/// Each of "stages" has "state": "new"; "done" (0 seconds); "interrupted" (it goes on, with "step" from its
/// newest checkpoint); "waits" (it has begun, and starts from a stage of this plan that has not ended: only
/// then its config can be compared); "refused", with the reason in "refusal": begun under another config, a
/// model that is gone or damaged, a stage before it that is no part of this plan and has not run.
///
/// "peak_bytes" is the process' memory: "program_bytes" (what is resident now; 0 on a CUDA device, whose
/// memory is meant then), "memory_bytes" (weights, in training gradients, Adam's moments and what the longest
/// batch keeps for the backward pass, in convert the routers' rows) and "forward_bytes" (a forward pass
/// beside these).
///
/// A model folder without weights is no error where a stage trains them: "has_weights" is false, and the text
/// says so.
/// @throws UsageError, Error  what the stages would refuse at their start: missing folders, experts that do
///                            not divide the hidden width, an output folder that cannot be made or written
///                            or that another process has, a teacher without weights
nlohmann::ordered_json plan(const config::LoadedExperiment& experiment,
                            const std::vector<std::string>& stages);

/// The plan for people.
std::string plan_text(const nlohmann::ordered_json& plan);

/// @throws UsageError  a stage would be refused: the first one's reason
void check_plan(const nlohmann::ordered_json& plan);

}  // namespace d2dmoe::stages
