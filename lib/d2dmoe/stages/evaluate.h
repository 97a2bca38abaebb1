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

/// @throws UsageError  not train, validation or test
void check_split_name(const std::string& split);

/// Quality and cost of one model folder, dense or converted.
/// @return  {"model", "split", "unit" ("sentences" or "images"), "sentences" (how many, of either),
///          "metrics": every one of the task by name, {"value"(, "interval": 95 %, none with
///          sweep_tau.bootstrap 0)}, "seconds", "sentences_per_second", "cost" (eval::Cost::to_json),
///          "cost_table" (Markdown)}
/// @throws UsageError   no such folder or split; a rule, value or floor that does not fit the model; data
///                      that do not fit the task
/// @throws Interrupted  a stop was asked for
/// @throws Error        no examples; the head does not fit the task; a damaged file
nlohmann::ordered_json evaluate(const config::LoadedExperiment& experiment, const EvalRequest& request);

/// Its result for people: the metrics with their intervals, and the table of costs.
std::string evaluation_text(const nlohmann::ordered_json& result);

}  // namespace d2dmoe::stages
