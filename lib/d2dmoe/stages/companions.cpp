#include "d2dmoe/stages/companions.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <numeric>
#include <span>

#include "d2dmoe/core/error.h"
#include "d2dmoe/core/log.h"
#include "d2dmoe/data/choice_source.h"
#include "d2dmoe/stages/common.h"

namespace d2dmoe::stages {

namespace fs = std::filesystem;
using Json = nlohmann::ordered_json;

fs::path teacher_folder(const config::LoadedExperiment& experiment, const std::string& stage) {
  const auto& options = experiment.options;
  const bool routed = stage == "train_routed";
  const std::string& teacher = (routed ? options.train_routed.distill : options.train_sparse.distill).teacher;
  if (teacher != "dense") return teacher;
  return routed && experiment.stages.count("train") ? start_folder(experiment, "auto", {"train"})
                                                    : stage_start(experiment, stage);
}

fs::path dense_folder(const config::LoadedExperiment& experiment) {
  const auto& options = experiment.options.sweep_tau;
  if (!options.dense.empty()) return start_folder(experiment, options.dense, {}, "sweep_tau.dense");
  if (experiment.stages.count("train")) return start_folder(experiment, "auto", {"train"});
  // Trained to be routed, a model is no baseline: the one before that is.
  const bool routed = options.start == "auto" && experiment.stages.count("train_routed");
  return stage_start(experiment, routed ? "train_routed" : "sweep_tau");
}

fs::path companion_if_there(const config::LoadedExperiment& experiment, const std::string& stage) {
  if (stage == "train" || stage == "convert") return {};
  try {
    const fs::path folder =
        stage == "sweep_tau" ? dense_folder(experiment) : teacher_folder(experiment, stage);
    std::error_code unreadable;
    return fs::exists(folder / "config.json", unreadable) ? folder : fs::path();
  } catch (const Error&) {
    return {};
  }
}

void check_teacher_outputs(const fs::path& folder, models::Model& teacher, const data::Splits& data,
                           const std::string& stage) {
  if (data::is_of_tokens(data.task)) return;  // its vocabulary is looked at with the first batch
  const int64_t classes = data.outputs();
  D2D_CHECK_USAGE(
      teacher.num_labels() == classes,
      "[config] '{}.distill.teacher': '{}' has {} outputs, the task has {}. Hint: the teacher must be "
      "fine-tuned on the same labels",
      stage, folder, teacher.num_labels(), classes);
  check_classes(folder, teacher, data);
}

void check_teacher_vocabulary(const fs::path& path, const Inputs& inputs, const std::string& stage) {
  constexpr int64_t kExamples = 256;
  if (!inputs.tokenizer) return;
  std::unique_ptr<tokenizer::Tokenizer> theirs;
  try {
    theirs = tokenizer::load_tokenizer(path);
  } catch (const Error& error) {
    log::warn(
        "the teacher's tokenizer cannot be read, so nobody knows whether it has the student's tokens: {}",
        error.what());
    return;
  }
  std::vector<int64_t> rows(static_cast<size_t>(std::min(kExamples, inputs.data.train.size())));
  std::iota(rows.begin(), rows.end(), int64_t{0});
  const auto ids = std::get<0>(at::_unique(inputs.data.train.collate(rows).token_ids)).contiguous();
  for (const int64_t id : std::span(ids.const_data_ptr<int64_t>(), static_cast<size_t>(ids.numel()))) {
    const std::string ours = inputs.tokenizer->token(id);
    const std::string other = id < theirs->vocab_size() ? theirs->token(id) : "";
    D2D_CHECK_USAGE(ours == other,
                    "[config] '{}.distill.teacher': token {} is '{}' in '{}' and '{}' for the student, whose "
                    "tokens it is given. Hint: the teacher must have the student's tokenizer",
                    stage, id, other, path, ours);
  }
}

void check_same_inputs(const fs::path& dense_dir, const models::Model& dense, const models::Model& routed) {
  for (const char* key : {"model_type", "vocab_size"}) {
    D2D_CHECK_USAGE(
        dense.config().value(key, Json()) == routed.config().value(key, Json()),
        "[sweep-tau] '{}': its {} is {}, the converted model's is {}. Hint: sweep_tau.dense must be the "
        "dense model of the same family and vocabulary",
        dense_dir, key, dense.config().value(key, Json()).dump(), routed.config().value(key, Json()).dump());
  }
  D2D_CHECK_USAGE(dense.image_geometry() == routed.image_geometry(),
                  "[sweep-tau] '{}': takes images or patches of another size than the converted model. Hint: "
                  "sweep_tau.dense must have the same image_size, patch_size and num_channels",
                  dense_dir);
}

}  // namespace d2dmoe::stages
