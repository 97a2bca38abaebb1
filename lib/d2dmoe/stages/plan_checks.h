#pragma once

#include <filesystem>
#include <set>
#include <string>
#include <vector>

#include "d2dmoe/config/experiment.h"
#include "d2dmoe/data/dataset.h"
#include "d2dmoe/models/model.h"
#include "d2dmoe/stages/common.h"

/// What a stage would refuse after hours, looked at before the first one starts. Only what is known by then
/// is judged: nothing of a model that a stage still has to make.
namespace d2dmoe::stages {

/// Where the model that a stage starts from comes from.
struct Origin {
  std::filesystem::path folder;  ///< the first start: model.path, or a folder that a stage names
  std::set<std::string> stages;  ///< of this config, which come between it and the stage
};
Origin origin_of(const config::LoadedExperiment& experiment, const std::string& stage);

/// The stage of this config, earlier than `stage`, that leaves its model in a folder; "" = none.
std::string maker_of(const config::LoadedExperiment& experiment, const std::filesystem::path& folder,
                     const std::string& stage);

/// @param exact_zeros  whether the model's activation is ReLU before the stage
/// @throws UsageError  target_sparsity with an activation that has no exact zeros
void check_target_sparsity(const config::SparseTrainOptions& options, bool exact_zeros);

/// @param model        outline of what is converted
/// @throws UsageError  the experts that convert will make do not suit train_routed's values of its rule
void check_routed_values(const config::LoadedExperiment& experiment, models::Model& model);

/// The same for sweep_tau.taus.
void check_sweep_values(const config::LoadedExperiment& experiment, models::Model& model);

/// @param model        outline of what is converted
/// @param planned      the stages of the plan, which leave their models before they are needed
/// @throws Error       the dense baseline is not there or has no weights, and no stage will make it; or it
/// reads other inputs than the model, or has another number of classes than the data
void check_dense(const config::LoadedExperiment& experiment, const models::Model& model,
                 const data::Splits& data, const std::vector<std::string>& planned);

/// @throws Error  the stage's teacher is not there or has no weights, and no stage will make it; or it has
/// other classes than the data or other tokens than the student
/// @param inputs  of model.path
void check_teacher(const config::LoadedExperiment& experiment, const std::string& stage, const Inputs& inputs,
                   const std::vector<std::string>& planned);

}  // namespace d2dmoe::stages
