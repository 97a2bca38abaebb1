#pragma once

#include <filesystem>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "d2dmoe/config/experiment.h"
#include "d2dmoe/stages/evaluate.h"
#include "d2dmoe/stages/generate.h"
#include "d2dmoe/stages/predict.h"

/// --dry-run of the commands that are no stage: what they would read and write, without doing it. plan.h is
/// the stages' counterpart.
///
/// Keys: "command", "reads" and "writes" (lists of paths), and where they mean something "model",
/// "parameters", "memory_bytes" (weights and a batch), "program_bytes" (what this process has resident now),
/// "peak_bytes" (both), "seconds" (estimates from a short measurement of this machine), "unit"
/// ("sentences", "texts" or "images"), "sentences" (how many), "tokens".
/// @throws UsageError, Error  what the command itself would refuse before its work
namespace d2dmoe::stages {

nlohmann::ordered_json plan_eval(const config::LoadedExperiment& experiment, const EvalRequest& request);
/// Of stdin no time can be told.
nlohmann::ordered_json plan_predict(const PredictRequest& request, const PredictInput& input);
nlohmann::ordered_json plan_generate(const GenerateRequest& request);
nlohmann::ordered_json plan_inspect(const std::filesystem::path& folder);
nlohmann::ordered_json plan_export(const std::filesystem::path& from, const std::filesystem::path& to);
/// @param images  of the page's compute maps
nlohmann::ordered_json plan_report(const std::vector<std::filesystem::path>& runs,
                                   const std::filesystem::path& page, const std::vector<std::string>& images);

/// The plan for people.
std::string command_plan_text(const nlohmann::ordered_json& plan);

}  // namespace d2dmoe::stages
