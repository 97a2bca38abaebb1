#include "d2dmoe/stages/plan_checks.h"

#include <algorithm>
#include <vector>

#include "d2dmoe/cluster/split.h"
#include "d2dmoe/core/error.h"
#include "d2dmoe/moe/conversion.h"
#include "d2dmoe/stages/common.h"
#include "d2dmoe/stages/companions.h"
#include "d2dmoe/stages/model_size.h"
#include "d2dmoe/stages/selection_request.h"

namespace d2dmoe::stages {
namespace {

namespace fs = std::filesystem;

/// A path by which folders can be compared, whether they are there or not.
fs::path comparable(const fs::path& folder) {
  const fs::path path = fs::weakly_canonical(folder);
  return path.has_filename() ? path : path.parent_path();  // a slash at the end
}

std::ptrdiff_t order_of(const std::string& stage) {
  return std::find(config::kStages.begin(), config::kStages.end(), stage) - config::kStages.begin();
}

/// Whether a stage of the plan leaves its model in a folder before `stage` needs it.
bool will_be_made(const config::LoadedExperiment& experiment, const fs::path& folder,
                  const std::string& stage, const std::vector<std::string>& planned) {
  const std::string maker = maker_of(experiment, folder, stage);
  return std::find(planned.begin(), planned.end(), maker) != planned.end();
}

bool starts_from_model_path(const config::LoadedExperiment& experiment, const std::string& stage) {
  return comparable(origin_of(experiment, stage).folder) == comparable(experiment.options.model.path);
}

/// @param stage   that runs the experts
/// @param values  of the rule, as `key` of the config lists them
void check_values(const config::LoadedExperiment& experiment, models::Model& model, const std::string& stage,
                  const char* key, const std::string& rule, const std::vector<double>& values) {
  if (values.empty() || !origin_of(experiment, stage).stages.count("convert")) return;
  const auto& options = experiment.options.convert;
  for (const auto* site : moe::chosen_sites(model, options)) {
    const int64_t experts = moe::experts_of(options, site->id(), site->layer()->weights().hidden());
    const int64_t routed = experts - cluster::shared_experts_of(options.split, experts);
    for (const double value : values)
      check_selection_of(format("[config] '{}'", key), site->id(), {rule, value, 0}, routed);
  }
}

}  // namespace

std::string maker_of(const config::LoadedExperiment& experiment, const fs::path& folder,
                     const std::string& stage) {
  for (const std::string& maker : experiment.stages) {
    if (order_of(maker) < order_of(stage) &&
        comparable(folder) == comparable(stage_dir(experiment, maker) / "model"))
      return maker;
  }
  return "";
}

Origin origin_of(const config::LoadedExperiment& experiment, const std::string& stage) {
  const Start start = start_of(experiment.options, stage);
  std::string maker;
  if (start.option != "auto") {
    maker = maker_of(experiment, start.option, stage);
    if (maker.empty()) return {start.option, {}};
  }
  for (auto before = start.before.begin(); maker.empty() && before != start.before.end(); ++before)
    if (experiment.stages.count(*before)) maker = *before;
  if (maker.empty()) return {experiment.options.model.path, {}};
  Origin origin = origin_of(experiment, maker);
  origin.stages.insert(maker);
  return origin;
}

void check_target_sparsity(const config::SparseTrainOptions& options, bool exact_zeros) {
  D2D_CHECK_USAGE(
      !options.penalty.target_sparsity || options.activation == "relu" || exact_zeros,
      "[config] 'train_sparse.penalty.target_sparsity': counts exact zeros, and this model's activation has "
      "none. Hint: set train_sparse.activation to relu");
}

void check_routed_values(const config::LoadedExperiment& experiment, models::Model& model) {
  const auto& options = experiment.options.train_routed;
  check_values(experiment, model, "train_routed", "train_routed.tau_range", options.rule, options.tau_range);
  if (options.validation_tau && !options.tau_range.empty())
    check_values(experiment, model, "train_routed", "train_routed.validation_tau", options.rule,
                 {*options.validation_tau});
}

void check_sweep_values(const config::LoadedExperiment& experiment, models::Model& model) {
  const auto& options = experiment.options.sweep_tau;
  check_values(experiment, model, "sweep_tau", "sweep_tau.taus", options.rule, options.taus);
}

void check_dense(const config::LoadedExperiment& experiment, const models::Model& model,
                 const data::Splits& data, const std::vector<std::string>& planned) {
  const std::string& dense = experiment.options.sweep_tau.dense;
  if (dense.empty()) {
    if (experiment.stages.count("train") &&
        std::find(planned.begin(), planned.end(), "train") == planned.end())
      dense_folder(experiment);  // refuses where it is not there
    return;
  }
  if (will_be_made(experiment, dense, "sweep_tau", planned)) return;
  models::LoadOptions load;
  load.regression = data.task == data::Task::regression;
  const auto outline = outline_of(io::HfFolder(dense_folder(experiment)), load);
  check_same_inputs(dense, *outline, model);
  if (data::is_of_tokens(data.task) || !starts_from_model_path(experiment, "sweep_tau")) return;
  D2D_CHECK_USAGE(
      outline->num_labels() == data.outputs(),
      "[config] 'sweep_tau.dense': '{}' has {} outputs, the task has {}. Hint: it must be trained on "
      "the same data",
      dense, outline->num_labels(), data.outputs());
}

void check_teacher(const config::LoadedExperiment& experiment, const std::string& stage, const Inputs& inputs,
                   const std::vector<std::string>& planned) {
  const bool routed = stage == "train_routed";
  const auto& sparse = experiment.options.train_sparse;
  const std::string& teacher = (routed ? experiment.options.train_routed.distill : sparse.distill).teacher;
  const bool dense = teacher == "dense", trains = experiment.stages.count("train") > 0;
  const bool train_planned = std::find(planned.begin(), planned.end(), "train") != planned.end();
  if (teacher.empty() || will_be_made(experiment, teacher, stage, planned)) return;
  if (dense && routed) {  // without train it is what the stage starts from, which has been looked at
    if (trains && !train_planned) teacher_folder(experiment, stage);
    return;
  }
  if (dense && ((sparse.start == "auto" && trains) || will_be_made(experiment, sparse.start, stage, planned)))
    return;
  const fs::path folder = dense ? start_folder(experiment, sparse.start, {}) : fs::path(teacher);
  D2D_CHECK_USAGE(fs::exists(folder / "config.json"),
                  "[config] '{}.distill.teacher': '{}' is no model folder", stage, folder);
  const io::HfFolder files(folder);
  // The data's class names and tokens are those of model.path.
  if (!starts_from_model_path(experiment, stage)) return;
  check_teacher_outputs(folder, *outline_of(files), inputs.data, stage);
  if (inputs.data.task != data::Task::language_modeling) check_teacher_vocabulary(folder, inputs, stage);
}

}  // namespace d2dmoe::stages
