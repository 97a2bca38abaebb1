#include <torch/types.h>

#include <algorithm>

#include "d2dmoe/core/device.h"
#include "d2dmoe/core/error.h"
#include "d2dmoe/core/log.h"
#include "d2dmoe/core/random.h"
#include "d2dmoe/data/choice_source.h"
#include "d2dmoe/eval/evaluate.h"
#include "d2dmoe/eval/metrics.h"
#include "d2dmoe/io/atomic_file.h"
#include "d2dmoe/models/attention_sites.h"
#include "d2dmoe/models/labels.h"
#include "d2dmoe/models/model.h"
#include "d2dmoe/moe/converted_folder.h"
#include "d2dmoe/sparsity/activation_replacement.h"
#include "d2dmoe/stages/attention.h"
#include "d2dmoe/stages/common.h"
#include "d2dmoe/stages/companions.h"
#include "d2dmoe/stages/plan_checks.h"
#include "d2dmoe/stages/routed_training.h"
#include "d2dmoe/stages/stages.h"
#include "d2dmoe/train/trainer.h"

namespace d2dmoe::stages {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::ordered_json;

/// What the training stages differ in.
struct Recipe {
  std::string stage;
  const config::TrainOptions& train;
  fs::path start;
  const config::SparseTrainOptions* sparse = nullptr;  // of stage 1
  const config::RoutedTrainOptions* routed = nullptr;  // of a converted model
  const config::DistillOptions* distill = nullptr;
  fs::path teacher = {};  // empty: none
};

/// The start model, or where its folder has no weights a model of its config.json with fresh ones.
std::shared_ptr<models::Model> load_start(const io::HfFolder& folder, const models::LoadOptions& options) {
  return folder.has_weights() ? models::load_model(folder, options)
                              : models::make_model(folder.config(), options);
}

/// The teacher, whose classes must be the student's, in the same order.
/// @param stage  whose config names it
std::shared_ptr<models::Model> load_teacher(const fs::path& path, const data::Splits& data,
                                            const std::string& stage) {
  D2D_CHECK_USAGE(fs::exists(path / "config.json"), "[config] '{}.distill.teacher': '{}' is no model folder",
                  stage, path);
  models::LoadOptions options;
  options.dropout = 0;
  auto teacher = models::load_model(io::HfFolder(path), options);
  check_teacher_outputs(path, *teacher, data, stage);
  return teacher;
}

/// The activation of every site after the stage's choice.
kernels::Activation activation_after(const config::SparseTrainOptions& options, models::Model& model) {
  if (options.activation == "relu") return kernels::Activation::relu;
  return model.sites().front()->layer()->weights().activation;
}

bool has_exact_zeros(models::Model& model) {
  for (nn::Site* site : model.sites()) {
    if (site->layer()->weights().activation != kernels::Activation::relu) return false;
  }
  return true;
}

/// Warns of penalties that do not do what their user expects.
void judge_penalties(const config::SparseTrainOptions& options, bool exact_zeros) {
  std::vector<std::pair<const char*, std::string>> penalties = {{"penalty.name", options.penalty.name}};
  if (!options.attention.projections.empty())
    penalties.emplace_back("attention.penalty", options.attention.penalty);
  for (const auto& [key, name] : penalties) {
    const bool clamped = name.ends_with("_clamped");
    if (!exact_zeros && !clamped && name != "none") {
      log::warn(
          "train_sparse.{} {} with an activation that has no exact zeros: small values are not pushed to "
          "zero. "
          "Hint: train_sparse.activation relu, or {}_clamped",
          key, name, name);
    }
    if (exact_zeros && clamped && options.penalty.displacement < 0) {
      log::warn(
          "train_sparse.{} {} with ReLU and displacement {}: pre-activations are pushed below zero and "
          "further, to the displacement. Hint: train_sparse.penalty.displacement 0 stops at zero",
          key, name, options.penalty.displacement);
    }
  }
}

/// The card's line about what the model answers.
std::string task_text(models::Model& model) {
  if (model.language_model() != nullptr) return "Task: language modelling.";
  const auto labels = models::class_names(model);
  if (labels.empty()) return "Task: regression.";
  return format("Task: classification, {} classes: {}", labels.size(), join(labels, ", "));
}

/// README.md of the model folder.
std::string model_card(models::Model& model, const Recipe& recipe, const Json& result) {
  std::string text = format("# {} model, {}\n\n", model.family(),
                            recipe.sparse ? "fine-tuned for sparse activations" : "fine-tuned");
  text +=
      format("Written by d2dmoe (stage `{}`) from `{}`. {}\n", recipe.stage, recipe.start.filename().string(),
             models::has_perceptrons(model.config())
                 ? "Some of its attention projections are two-layer perceptrons, which config.json lists: "
                   "transformers cannot load it, d2dmoe can."
                 : "A plain Hugging Face folder: transformers loads it as it is.");
  if (recipe.sparse) {
    text += format(
        "Its sites have few active neurons per token, so that `d2dmoe convert` can split them "
        "into experts (penalty `{}`).\n",
        recipe.sparse->penalty.name);
  }
  text += format("\n{}", task_text(model));
  if (const auto best = result.find("best"); best != result.end()) {
    text += format("\n\nValidation {}: {:.4f} (step {})", best->at("metric").get<std::string>(),
                   best->at("value").get<double>(), best->at("step").get<int64_t>());
  }
  if (result.contains("mean_zeros")) {
    text += format(", {:.1f} % zeros in the hidden layers", 100 * result["mean_zeros"].get<double>());
  }
  return text + "\n";
}

void save_result(models::Model& model, const io::HfFolder& start, const io::RunFolder& run,
                 const Recipe& recipe, const Json& result) {
  const torch::Device device = model.parameters().front().device();
  model.to(torch::kCPU);
  io::write_folder(run.model_dir(), [&](const fs::path& dir) {
    io::copy_tokenizer_files(start.dir(), dir);
    if (recipe.routed) {  // writes a card of its own
      moe::save_converted(model, dir,
                          {{"path", start.dir().string()},
                           {"weights_sha256", start.weights_hash()},
                           {"stage", recipe.stage}});
      return;
    }
    models::save_model(model, dir);
    io::write_file(dir / "README.md", model_card(model, recipe, result));
  });
  model.to(device);
}

Json fine_tune(const config::LoadedExperiment& experiment, const Recipe& recipe) {
  io::RunFolder run(stage_dir(experiment, recipe.stage), stage_config(experiment, recipe.stage));
  if (finished_with_model(run)) {
    log::info("{}: already done, see '{}'", recipe.stage, run.dir());
    return run.result();
  }
  const RunLog log_file(run);
  const torch::Device device = parse_device(experiment.options.run.device);
  set_threads(static_cast<int>(experiment.options.run.threads));
  Inputs inputs =
      open_inputs(experiment, recipe.start, {"train", "validation"}, weights_needed(recipe.stage));
  inputs.data.train = data::right_answers(inputs.data.train);
  const data::Splits& data = inputs.data;
  log::info("{}: from '{}', {} training and {} validation {}, {}", recipe.stage, recipe.start,
            data.train.size(), data.validation.size(), data.train.unit(),
            data.task == data::Task::classification ? format("{} classes", data.label_names.size())
                                                    : data::task_name(data.task));

  models::LoadOptions load;
  if (recipe.routed) {  // has its head
    load.regression = data.task == data::Task::regression;
  } else {
    load = head_options(data);
    load.seed = derive_seed(static_cast<uint64_t>(experiment.options.run.seed), "head");
    load.fresh_head = true;
  }
  load.dropout = recipe.train.dropout;
  if (!inputs.folder.has_weights()) {
    log::warn("'{}' has no weights: training starts from fresh ones, of the seed {}", recipe.start,
              experiment.options.run.seed);
  }
  const auto model = recipe.routed ? moe::load_any(inputs.folder, load) : load_start(inputs.folder, load);

  train::TrainJob job{.model = model, .teacher = nullptr, .data = data, .options = recipe.train, .run = run};
  job.seed = static_cast<uint64_t>(experiment.options.run.seed);
  job.device = device;
  if (recipe.routed) {
    D2D_CHECK_USAGE(
        data::is_of_tokens(data.task) || model->num_labels() == data.outputs(),
        "[train-routed] '{}': has {} outputs, the task has {}. Hint: these data need a model that "
        "was trained for them",
        recipe.start, model->num_labels(), data.outputs());
    check_classes(recipe.start, *model, data);
    prepare_routed(*model, *recipe.routed);
    if (!recipe.routed->tau_range.empty())
      job.selection = [&](int64_t step) { return drawn_selection(*recipe.routed, job.seed, step); };
  }
  if (!recipe.teacher.empty()) {
    job.teacher = load_teacher(recipe.teacher, data, recipe.stage);
    check_teacher_vocabulary(recipe.teacher, inputs, recipe.stage);
    job.distill = recipe.distill;
  }
  Json attention;
  if (recipe.sparse) {
    check_target_sparsity(*recipe.sparse, has_exact_zeros(*model));
    judge_penalties(*recipe.sparse, recipe.sparse->activation == "relu" || has_exact_zeros(*model));
    if (!recipe.sparse->attention.projections.empty()) {
      model->to(device);
      attention = replace_projections(*model, data, experiment, run, activation_after(*recipe.sparse, *model),
                                      stage_config(experiment, recipe.stage), device);
    }
    if (recipe.sparse->activation == "relu") sparsity::replace_activation(*model, kernels::Activation::relu);
    job.penalty = &recipe.sparse->penalty;
    job.reference_metric = [&] {
      const auto dense = load_start(inputs.folder, load);
      dense->to(device);
      eval::EvaluateOptions options;
      options.batch_size = recipe.train.batch_size;
      options.device = device;
      return eval::metric(eval::resolve_metric(recipe.train.metric, data.task),
                          eval::evaluate(*dense, data.validation, options));
    };
  }

  Json result = {{"stage", recipe.stage},
                 {"start", recipe.start.string()},
                 {"start_weights_sha256", inputs.folder.weights_hash()}};
  if (!attention.is_null()) result["attention"] = attention;
  result.update(train::train(job));
  if (recipe.routed) refresh_mean_norms(*model, data.train, job.seed, device);
  save_result(*model, inputs.folder, run, recipe, result);
  run.mark_done(result);
  std::error_code ignored;
  for (const char* spent : {"checkpoints", "best"}) fs::remove_all(run.dir() / spent, ignored);
  return result;
}

}  // namespace

Json train(const config::LoadedExperiment& experiment) {
  return fine_tune(
      experiment,
      {.stage = "train", .train = experiment.options.train, .start = stage_start(experiment, "train")});
}

Json train_sparse(const config::LoadedExperiment& experiment) {
  const config::SparseTrainOptions& options = experiment.options.train_sparse;
  const fs::path start = stage_start(experiment, "train_sparse");
  return fine_tune(experiment, {.stage = "train_sparse",
                                .train = options.train,
                                .start = start,
                                .sparse = &options,
                                .distill = &options.distill,
                                .teacher = teacher_folder(experiment, "train_sparse")});
}

Json train_routed(const config::LoadedExperiment& experiment) {
  const config::RoutedTrainOptions& options = experiment.options.train_routed;
  const fs::path start = stage_start(experiment, "train_routed");
  return fine_tune(experiment, {.stage = "train_routed",
                                .train = options.train,
                                .start = start,
                                .routed = &options,
                                .distill = &options.distill,
                                .teacher = teacher_folder(experiment, "train_routed")});
}

}  // namespace d2dmoe::stages
