#include "d2dmoe/stages/common.h"

#include <algorithm>

#include "d2dmoe/core/error.h"
#include "d2dmoe/core/hash.h"
#include "d2dmoe/core/log.h"
#include "d2dmoe/data/choice_source.h"
#include "d2dmoe/data/content_hash.h"
#include "d2dmoe/data/image_source.h"
#include "d2dmoe/data/labels.h"
#include "d2dmoe/data/text_source.h"
#include "d2dmoe/eval/metrics.h"
#include "d2dmoe/io/json_file.h"
#include "d2dmoe/io/safetensors.h"
#include "d2dmoe/models/labels.h"
#include "d2dmoe/moe/converted_folder.h"
#include "d2dmoe/stages/companions.h"

namespace d2dmoe::stages {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::ordered_json;

std::string command_of(std::string stage) {
  std::replace(stage.begin(), stage.end(), '_', '-');
  return stage;
}

/// A stage folder whose result is there, but not the model that belongs to it.
void check_model_is_there(const fs::path& dir) {
  D2D_CHECK(
      !fs::exists(dir / "result.json") || fs::exists(dir / "model" / "config.json"),
      "[stages] '{}': result.json says that this stage is done, but its model/ is missing. Hint: put the "
      "folder model/ back, or delete '{}' to run the stage again",
      dir, dir);
}

/// A path as the run's record holds it: inside the output folder relative to it, so that a moved run is the
/// same run.
std::string recorded_path(const fs::path& path, const fs::path& output_dir) {
  const fs::path whole = fs::weakly_canonical(path);
  const fs::path inside = whole.lexically_relative(fs::weakly_canonical(output_dir));
  return inside.empty() || *inside.begin() == ".." ? whole.string()
                                                   : (fs::path("<output_dir>") / inside).string();
}

/// A tokenizer with ids that the model has no embedding for belongs to another model.
void check_vocabulary(const tokenizer::Tokenizer& tokenizer, const io::HfFolder& folder) {
  const int64_t vocab = folder.config().value("vocab_size", int64_t{0});
  D2D_CHECK(vocab == 0 || tokenizer.vocab_size() <= vocab,
            "[stages] '{}': the tokenizer has {} tokens, '{}' says vocab_size {}. Hint: the tokenizer's "
            "files belong to another model",
            tokenizer_file(folder.dir()), tokenizer.vocab_size(), folder.dir() / "config.json", vocab);
}

/// The options with texts cut where the model's positions end.
config::DataOptions with_length_limit(config::DataOptions options, const models::Model& outline,
                                      const fs::path& model_folder) {
  if (const int64_t longest = outline.max_length(); options.max_length > longest) {
    log::warn("data.max_length {} is above the {} positions of '{}': texts are cut at {}", options.max_length,
              longest, model_folder, longest);
    options.max_length = longest;
  }
  return options;
}

}  // namespace

fs::path stage_dir(const config::LoadedExperiment& experiment, const std::string& stage) {
  return fs::path(experiment.options.run.output_dir) / stage;
}

void check_model(const fs::path& dir, io::Weights weights) {
  auto files = io::HfFolder(dir, weights).weight_files();
  if (moe::is_converted(dir)) files.push_back(dir / "routers.safetensors");
  for (const fs::path& file : files) io::SafetensorsFile::open(file);
}

bool finished_with_model(const io::RunFolder& run) {
  if (!run.done()) return false;
  check_model_is_there(run.dir());
  check_model(run.model_dir(), io::Weights::required);
  return true;
}

fs::path start_folder(const config::LoadedExperiment& experiment, const std::string& start,
                      const std::vector<std::string>& before, std::string key) {
  fs::path folder = start;
  if (start == "auto") {
    for (const std::string& stage : before) {
      if (!experiment.stages.count(stage)) continue;
      const fs::path result = stage_dir(experiment, stage) / "model";
      check_model_is_there(result.parent_path());
      D2D_CHECK_USAGE(fs::exists(result / "config.json"),
                      "[stages] '{}': the stage '{}' has no result yet, and this stage needs it. Hint: run "
                      "`d2dmoe {}` with the same config first, or `d2dmoe run` for all stages",
                      result, stage, command_of(stage));
      return result;
    }
    folder = experiment.options.model.path;
    key = "model.path";
    D2D_CHECK_USAGE(!folder.empty(),
                    "[stages] 'model.path': got nothing, must be a Hugging Face model folder. Hint: --set "
                    "model.path=FOLDER");
  }
  D2D_CHECK_USAGE(fs::exists(folder), "[stages] '{}': no such folder. Hint: check the config's '{}'", folder,
                  key);
  D2D_CHECK_USAGE(fs::is_directory(folder),
                  "[stages] '{}': got a file, must be a model folder (config's '{}')", folder, key);
  return folder;
}

Start start_of(const config::Experiment& options, const std::string& stage) {
  if (stage == "train") return {"auto", {}};
  if (stage == "train_sparse") return {options.train_sparse.start, {"train"}};
  if (stage == "convert") return {options.convert.start, {"train_sparse", "train"}};
  if (stage == "train_routed") return {options.train_routed.start, {"convert"}};
  if (stage == "sweep_tau") return {options.sweep_tau.start, {"train_routed", "convert"}};
  throw Error(format("[stages] '{}': not a stage; must be {}", stage,
                     join({config::kStages.begin(), config::kStages.end()}, ", ")));
}

fs::path stage_start(const config::LoadedExperiment& experiment, const std::string& stage) {
  const Start start = start_of(experiment.options, stage);
  const fs::path folder = start_folder(experiment, start.option, start.before, stage + ".start");
  const bool routed = stage == "train_routed" || stage == "sweep_tau";
  D2D_CHECK_USAGE(
      !routed || moe::is_converted(folder),
      "[{}] '{}': has no d2dmoe.json, must be a converted model folder. Hint: run `d2dmoe convert` "
      "first, or set {}.start",
      command_of(stage), folder, stage);
  return folder;
}

fs::path tokenizer_file(const fs::path& model_folder) {
  for (const char* name : {"tokenizer.json", "vocab.txt", "vocab.json",
                           "tokenizer.model"}) {  // as load_tokenizer looks for them
    if (fs::exists(model_folder / name)) return model_folder / name;
  }
  return model_folder;
}

Inputs open_inputs(const config::LoadedExperiment& experiment, const fs::path& model_folder,
                   const std::vector<std::string>& splits, io::Weights weights, data::TextNeed need) {
  io::HfFolder folder(model_folder, weights);
  const std::string config_file = (model_folder / "config.json").string();
  const auto outline = models::outline_model(folder.config(), config_file);
  const auto labels = folder.config().contains("id2label") ? models::read_labels(folder.config(), config_file)
                                                           : std::vector<std::string>();
  const auto seed = static_cast<uint64_t>(experiment.options.run.seed);
  if (const auto geometry = outline->image_geometry()) {
    const data::ImageNeeds needs{*geometry, data::read_image_processor(model_folder, *geometry)};
    auto data = data::load_image_data(experiment.options.data, needs, splits, labels, seed);
    return {std::move(folder), nullptr, std::move(data)};
  }
  auto tokenizer = tokenizer::load_tokenizer(model_folder);
  check_vocabulary(*tokenizer, folder);
  const auto options = with_length_limit(experiment.options.data, *outline, model_folder);
  if (const auto task = data::parse_task(options.task); data::is_of_tokens(task)) {
    auto data =
        task == data::Task::language_modeling
            ? data::load_running_text(options, *tokenizer, io::tokenizer_hash(model_folder),
                                      fs::path(experiment.options.run.output_dir) / "tokens", splits, need)
            : data::load_choices(options, *tokenizer, splits, seed);
    return {std::move(folder), std::move(tokenizer), std::move(data)};
  }
  auto data = data::load_text_data(options, *tokenizer, splits, labels, seed);
  return {std::move(folder), std::move(tokenizer), std::move(data)};
}

io::Weights weights_needed(const std::string& stage) {
  return stage == "train" || stage == "train_sparse" ? io::Weights::optional : io::Weights::required;
}

models::LoadOptions head_options(const data::Splits& data) {
  models::LoadOptions options;
  if (!data::is_of_tokens(data.task)) options.num_labels = data.outputs();
  options.label_names = data.label_names;
  options.regression = data.task == data::Task::regression;
  return options;
}

void check_classes(const fs::path& model_folder, models::Model& model, const data::Splits& data) {
  if (data.task != data::Task::classification) return;
  const auto names = models::class_names(model);
  const auto& wanted = data.label_names;
  if (names.empty()) return;  // no classifier: evaluation says what such a model needs
  if (names == wanted || (names.size() == wanted.size() && data::are_generic(names))) return;
  const auto unknown = std::find_if(wanted.begin(), wanted.end(), [&](const std::string& name) {
    return std::find(names.begin(), names.end(), name) == names.end();
  });
  const fs::path file = model_folder / "config.json";
  D2D_CHECK_USAGE(
      unknown == wanted.end(),
      "[stages] '{}': has no class '{}', which is one of the data's {}; its own {} are {}. Hint: these data "
      "need a model that was trained for them; data.label_names, where it is set, must hold the model's "
      "names",
      file, io::printable(*unknown), wanted.size(), names.size(), io::printable(join(names, ", "), 200));
  D2D_CHECK_USAGE(
      names.size() == wanted.size(),
      "[stages] 'data.label_names': has {} of the {} classes of '{}'. Hint: leave it away, or write all of "
      "the model's names in the model's order",
      wanted.size(), names.size(), file);
  const auto [theirs, ours] = std::mismatch(names.begin(), names.end(), wanted.begin());
  throw UsageError(
      format("[stages] 'data.label_names': class {} is '{}' there and '{}' in '{}'. Hint: leave it away, or "
             "write the names in the model's order",
             theirs - names.begin(), io::printable(*ours), io::printable(*theirs), file));
}

Json stage_config(const config::LoadedExperiment& experiment, const std::string& stage) {
  const Json all = config::to_json(experiment.options);
  Json kept = {{"stage", stage}, {"seed", all.at("seed")}};
  const fs::path folder = stage_start(experiment, stage);
  kept["start_folder"] = recorded_path(folder, experiment.options.run.output_dir);
  // A forerunner that was made again makes this stage's result stale.
  const std::string start_hash = io::HfFolder(folder, weights_needed(stage)).weights_hash();
  kept["start_weights_sha256"] = start_hash;
  if (const fs::path routers = folder / "routers.safetensors"; fs::exists(routers)) {
    kept["start_routers_sha256"] = sha256_file(routers);
  }
  if (stage == "train_routed") {
    const bool by_train =
        experiment.options.train_routed.distill.teacher == "dense" && experiment.stages.count("train");
    const fs::path teacher =
        by_train ? stage_dir(experiment, "train") / "model" : teacher_folder(experiment, stage);
    if (!teacher.empty()) kept["teacher_folder"] = recorded_path(teacher, experiment.options.run.output_dir);
  }
  if (const fs::path companion = companion_if_there(experiment, stage); !companion.empty()) {
    const char* key = stage == "sweep_tau" ? "dense_weights_sha256" : "teacher_weights_sha256";
    kept[key] = companion == folder ? start_hash : io::HfFolder(companion).weights_hash();
  }
  // Each site's own setting stands there.
  if (stage == "train_routed" && experiment.options.train_routed.tau_range.empty())
    kept["start_record_sha256"] = sha256_file(folder / "d2dmoe.json");
  kept["data"] = all.at("data");
  if (stage != "sweep_tau") kept["data"].erase("test");
  for (const char* split : {"train", "validation", "test"}) {  // files that were changed are other data
    const auto path = kept["data"].value(split, std::string());
    if (path.empty()) continue;
    const std::string hash = data::content_hash(path);
    D2D_CHECK_USAGE(!hash.empty(), "[data] '{}': no such file or folder. Hint: check the config's data.{}",
                    path, split);
    kept["data_sha256"][split] = hash;
  }
  kept[stage] = all.at(stage);
  // Left open, it gives the same experts where the number divides the width, and is no other number
  // elsewhere.
  if (stage == "convert") {
    auto& size = kept[stage]["split"]["expert_size"];
    if (size == 0) size = config::SplitOptions::kUsualExpertSize;
  }
  // How often a run saves and talks is free to change between two of its parts.
  for (const char* key : {"checkpoint_every", "keep_checkpoints", "log_every"}) {
    kept[stage].erase(key);
    for (const char* part : {"train", "attention"}) {
      if (kept[stage].contains(part)) kept[stage][part].erase(key);
    }
  }
  return kept;
}

std::string metric_of(const config::LoadedExperiment& experiment, data::Task task) {
  const auto& options = experiment.options;
  const auto& watched = experiment.stages.count("train_routed")   ? options.train_routed.train
                        : experiment.stages.count("train_sparse") ? options.train_sparse.train
                                                                  : options.train;
  return eval::resolve_metric(watched.metric, task);
}

RunLog::RunLog(const io::RunFolder& run) {
  log::attach_file(run.dir() / "log.txt");
}

RunLog::~RunLog() {
  log::detach_file();
}

}  // namespace d2dmoe::stages
