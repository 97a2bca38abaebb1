#pragma once

#include <nlohmann/json.hpp>

#include "d2dmoe/config/experiment.h"
#include "d2dmoe/data/dataset.h"
#include "d2dmoe/io/run_folder.h"
#include "d2dmoe/models/model.h"

namespace d2dmoe::stages {

/// Makes perceptrons of the projections that train_sparse.attention names, trained on the model's real
/// inputs, and measures on the validation data what this alone costs. Works in <run>/attention, where a
/// killed run goes on and a finished one is read back.
/// @param model       the start model, on `device`; its other parts stay as they are
/// @param activation  of the perceptrons
/// @param key         what decides the result (stage_config)
/// @return  {"metric", "before": {"value", "loss"}, "after": the same, "projections": [{"site", "d_in",
/// "width",
///          "d_out", "flops_ratio", "unexplained", "zeros"}], "flops_ratio", "seconds"}; before and after are
///          null without validation data
/// @ref docs/method.md §5
nlohmann::ordered_json replace_projections(models::Model& model, const data::Splits& data,
                                           const config::LoadedExperiment& experiment,
                                           const io::RunFolder& run, kernels::Activation activation,
                                           const nlohmann::ordered_json& key, torch::Device device);

}  // namespace d2dmoe::stages
