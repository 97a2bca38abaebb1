#pragma once

#include <filesystem>
#include <nlohmann/json.hpp>
#include <string>

#include "d2dmoe/config/experiment.h"

/// The stages of an experiment: each reads a model folder and the config, and writes its run folder
/// <output_dir>/<stage> (config::kStages). A finished stage is not run again; a
/// killed one goes on. The result is what mark_done stored (result.json).
///
/// All throw UsageError (a config that does not fit the data, the model or what the run folder was made with;
/// a start folder that is missing), Interrupted (a stop was asked for: the same call goes on) and Error
/// (another process holds the run folder, a damaged file, a loss that is not finite).
namespace d2dmoe::stages {

/// Stage 0: dense fine-tuning.
/// @return  {"stage", "start", "start_weights_sha256", and what train::train returns}
nlohmann::ordered_json train(const config::LoadedExperiment& experiment);
/// Stage 1: fine-tuning under a penalty that makes activations sparse.
/// @return  as train(experiment), with "attention" where projections became perceptrons
nlohmann::ordered_json train_sparse(const config::LoadedExperiment& experiment);
/// Stage 2: neurons become experts, and routers are trained. Its report is <output_dir>/convert/convert.json.
/// @return  {"stage", "start", "start_weights_sha256", "sites" (how many), "split", "regret", "metric",
///          "seconds"}
nlohmann::ordered_json convert(const config::LoadedExperiment& experiment);
/// Behind stage 2, optional: fine-tuning of the converted model with the experts that its routers choose.
/// @return  as train(experiment)
nlohmann::ordered_json train_routed(const config::LoadedExperiment& experiment);
/// Stage 3: quality, cost and time over the selection rule's value; writes the curve beside its result.
/// @return  {"metric", "split", "dense", "all_experts", "points" (array, of eval::Sweep::measure),
///          "calibrated" (null without budget and max_drop), "converted" (the folder)}
nlohmann::ordered_json sweep_tau(const config::LoadedExperiment& experiment);

}  // namespace d2dmoe::stages
