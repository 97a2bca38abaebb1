#include "d2dmoe/stages/subject.h"

#include <vector>

#include "d2dmoe/core/error.h"
#include "d2dmoe/io/remedy.h"
#include "d2dmoe/stages/common.h"

namespace d2dmoe::stages {

namespace fs = std::filesystem;

namespace {

bool holds_model(const fs::path& dir) {
  return fs::exists(dir / "config.json") &&
         (fs::exists(dir / "model.safetensors") || fs::exists(dir / "model.safetensors.index.json"));
}

/// Stages that leave a model, the furthest first.
constexpr const char* kModelStages[] = {"train_routed", "convert", "train_sparse", "train"};

/// The folder of a run, or of one of its stages, in place of the model inside.
void check_is_no_run(const fs::path& dir, const std::string& command) {
  if (holds_model(dir)) return;
  std::vector<fs::path> inside;
  for (const char* stage : kModelStages) inside.push_back(dir / stage / "model");
  inside.push_back(dir / "model");
  const std::string stage = io::stage_of(dir);
  if (!stage.empty()) {  // the run's other stages
    for (const char* other : kModelStages)
      inside.push_back((dir / ".." / other / "model").lexically_normal());
  }
  for (const auto& model : inside) {
    D2D_CHECK_USAGE(!holds_model(model),
                    "[{}] '{}': holds no model itself, must be a model folder. Hint: there is one in '{}'",
                    command, dir, model);
  }
  D2D_CHECK_USAGE(stage.empty(),
                  "[{}] '{}': is the folder of the stage {} and holds no model, must be a model folder",
                  command, dir, stage);
}

}  // namespace

fs::path subject_folder(const config::LoadedExperiment& experiment, const std::string& asked,
                        const std::string& command) {
  if (!asked.empty()) {
    D2D_CHECK_USAGE(fs::is_directory(asked), "[{}] '{}': {}, must be a Hugging Face model folder", command,
                    asked, fs::exists(asked) ? "is a file" : "no such folder");
    check_is_no_run(asked, command);
    return asked;
  }
  for (const char* stage : kModelStages) {
    const fs::path folder = stage_dir(experiment, stage) / "model";
    if (fs::exists(folder / "config.json")) return folder;
  }
  throw UsageError(format(
      "[{}] '{}': no stage has a model there. Hint: name a model folder, or --config FILE of an experiment "
      "of which a stage has run",
      command, experiment.options.run.output_dir));
}

}  // namespace d2dmoe::stages
