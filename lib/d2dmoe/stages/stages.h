#pragma once

#include <filesystem>
#include <nlohmann/json.hpp>
#include <string>

#include "d2dmoe/config/experiment.h"

/// The stages of an experiment: each reads a model folder and the config, and writes its run folder
/// <output_dir>/<stage> (train, train_sparse, convert, sweep_tau). A finished stage is not run again; a
/// killed one goes on. The result is what mark_done stored.
namespace d2dmoe::stages {

nlohmann::ordered_json train(const config::LoadedExperiment& experiment);
nlohmann::ordered_json train_sparse(const config::LoadedExperiment& experiment);
nlohmann::ordered_json convert(const config::LoadedExperiment& experiment);
nlohmann::ordered_json sweep_tau(const config::LoadedExperiment& experiment);

}  // namespace d2dmoe::stages
