#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "d2dmoe/config/experiment.h"
#include "d2dmoe/data/block_source.h"
#include "d2dmoe/data/dataset.h"
#include "d2dmoe/io/hf_folder.h"
#include "d2dmoe/io/run_folder.h"
#include "d2dmoe/models/model.h"
#include "d2dmoe/tokenizer/tokenizer.h"

namespace d2dmoe::stages {

/// <output_dir>/<stage>.
std::filesystem::path stage_dir(const config::LoadedExperiment& experiment, const std::string& stage);

/// What a stage was told to start from, and the stages before it whose result "auto" means.
struct Start {
  std::string option;  ///< "auto" or a folder
  std::vector<std::string> before;
};
Start start_of(const config::Experiment& options, const std::string& stage);
/// The model folder that a stage starts from.
/// @throws UsageError  as start_folder; a stage that needs a mixture of experts would start from a dense
/// model
std::filesystem::path stage_start(const config::LoadedExperiment& experiment, const std::string& stage);
/// The model folder that an option names.
/// @param start   "auto" or a folder
/// @param before  stages whose result "auto" takes, the first that the experiment holds; else model.path
/// @param key     the option's, for messages
/// @throws UsageError  that stage has not finished (says which command to run), or the folder is missing
std::filesystem::path start_folder(const config::LoadedExperiment& experiment, const std::string& start,
                                   const std::vector<std::string>& before, std::string key = "start");

/// @throws Error  the model is damaged, as far as the headers and sizes of its files tell
void check_model(const std::filesystem::path& dir, io::Weights weights);

/// Whether a stage that leaves a model has ended.
/// @throws Error  it has, but its model is gone or damaged
bool finished_with_model(const io::RunFolder& run);

/// The file that a model folder's tokenizer is read from, for messages.
std::filesystem::path tokenizer_file(const std::filesystem::path& model_folder);

/// Model folder, tokenizer and data of a stage, opened together.
struct Inputs {
  io::HfFolder folder;
  std::unique_ptr<tokenizer::Tokenizer> tokenizer;  ///< nullptr where the model reads images
  data::Splits data;
};
/// @param need  of running text; size is enough for a plan
Inputs open_inputs(const config::LoadedExperiment& experiment, const std::filesystem::path& model_folder,
                   const std::vector<std::string>& splits, io::Weights weights = io::Weights::required,
                   data::TextNeed need = data::TextNeed::tokens);

/// Whether a stage may start from a folder without weights: the training stages, from fresh ones.
io::Weights weights_needed(const std::string& stage);

/// The head that a model of these data has.
models::LoadOptions head_options(const data::Splits& data);

/// @throws UsageError  the data's classes are not the model's, or stand in another order (a model whose
/// classes nobody
///                     named takes any as many)
void check_classes(const std::filesystem::path& model_folder, models::Model& model, const data::Splits& data);

/// The metric that training watched.
std::string metric_of(const config::LoadedExperiment& experiment, data::Task task);

/// The resolved config without what cannot change a stage's result (output_dir, threads, later stages), with
/// hashes of the start model and of the data.
nlohmann::ordered_json stage_config(const config::LoadedExperiment& experiment, const std::string& stage);

/// While it lives, the log goes to the run folder's log.txt too.
class RunLog {
 public:
  explicit RunLog(const io::RunFolder& run);
  ~RunLog();
  RunLog(const RunLog&) = delete;
  RunLog& operator=(const RunLog&) = delete;
};

}  // namespace d2dmoe::stages
