#pragma once

#include <filesystem>
#include <string>

#include "d2dmoe/config/experiment.h"
#include "d2dmoe/data/dataset.h"
#include "d2dmoe/models/model.h"
#include "d2dmoe/stages/common.h"

/// The models beside the one that a stage works on: the teacher in training, the dense baseline of a sweep.
namespace d2dmoe::stages {

/// The teacher of train_sparse or train_routed; empty = none. "dense" is what train_sparse starts from; for
/// train_routed the result of train where the config has that stage, else what the stage starts from.
/// @throws UsageError  as start_folder
std::filesystem::path teacher_folder(const config::LoadedExperiment& experiment, const std::string& stage);

/// The dense baseline of sweep_tau: sweep_tau.dense, the result of train where the config has that stage,
/// else the model that was converted, which runs without its routers.
/// @throws UsageError  as start_folder
std::filesystem::path dense_folder(const config::LoadedExperiment& experiment);

/// The teacher of a training stage or the dense baseline of sweep_tau; empty where the stage has none, or it
/// is not there (then the stage itself says so, or has ended and needs none).
std::filesystem::path companion_if_there(const config::LoadedExperiment& experiment,
                                         const std::string& stage);

/// @param stage        whose config names the teacher
/// @throws UsageError  the teacher answers with other outputs or classes than the data have
void check_teacher_outputs(const std::filesystem::path& folder, models::Model& teacher,
                           const data::Splits& data, const std::string& stage);

/// @throws UsageError  the student's token ids, which it is given, mean other tokens to the teacher
void check_teacher_vocabulary(const std::filesystem::path& folder, const Inputs& inputs,
                              const std::string& stage);

/// @throws UsageError  the dense baseline reads other tokens or images than the converted model, so that its
/// figures would say nothing
void check_same_inputs(const std::filesystem::path& dense_dir, const models::Model& dense,
                       const models::Model& routed);

}  // namespace d2dmoe::stages
