#include "d2dmoe/stages/subject.h"

#include "d2dmoe/core/error.h"
#include "d2dmoe/stages/common.h"

namespace d2dmoe::stages {

namespace fs = std::filesystem;

fs::path subject_folder(const config::LoadedExperiment& experiment, const std::string& asked,
                        const std::string& command) {
  if (!asked.empty()) {
    D2D_CHECK_USAGE(fs::is_directory(asked), "[{}] '{}': {}, must be a Hugging Face model folder", command,
                    asked, fs::exists(asked) ? "is a file" : "no such folder");
    return asked;
  }
  for (const char* stage : {"convert", "train_sparse", "train"}) {
    const fs::path folder = stage_dir(experiment, stage) / "model";
    if (fs::exists(folder / "config.json")) return folder;
  }
  throw UsageError(format(
      "[{}] '{}': no stage has a model there. Hint: name a model folder, or --config FILE of an experiment "
      "of which a stage has run",
      command, experiment.options.run.output_dir));
}

}  // namespace d2dmoe::stages
