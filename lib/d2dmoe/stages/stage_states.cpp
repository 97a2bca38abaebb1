#include "d2dmoe/stages/stage_states.h"

#include <algorithm>

#include "d2dmoe/core/error.h"
#include "d2dmoe/io/atomic_file.h"
#include "d2dmoe/io/run_folder.h"
#include "d2dmoe/stages/common.h"
#include "d2dmoe/stages/plan_checks.h"

namespace d2dmoe::stages {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::ordered_json;

/// Whether the model that a stage starts from is one that this experiment makes.
bool starts_from_result(const config::LoadedExperiment& experiment, const std::string& stage) {
  const Start start = start_of(experiment.options, stage);
  if (start.option == "auto") {
    return std::any_of(start.before.begin(), start.before.end(),
                       [&](const std::string& before) { return experiment.stages.count(before) > 0; });
  }
  return !maker_of(experiment, start.option, stage).empty();
}

/// What a start of the stage finds in its folder: the keys "state" and "step" or "refusal" of plan().
/// @param before_done  no stage of this plan has to end before this one
/// @throws Error  the folder cannot be made or written, or another process has it
Json state_of(const config::LoadedExperiment& experiment, const std::string& stage, bool before_done) {
  const auto run = io::RunFolder::look(stage_dir(experiment, stage));
  const bool begun = run.begun();
  if (!before_done && starts_from_result(experiment, stage)) return {{"state", begun ? "waits" : "new"}};
  try {
    if (!begun) {
      check_model(stage_start(experiment, stage), weights_needed(stage));
      return {{"state", "new"}};
    }
    run.check_config(stage_config(experiment, stage));
    const bool done = stage == "sweep_tau" ? run.done() : finished_with_model(run);
    if (done) {
      run.result();  // what a start reads
      return {{"state", "done"}};
    }
  } catch (const Error& error) {
    return {{"state", "refused"}, {"refusal", error.what()}};
  }
  Json state = {{"state", "interrupted"}};
  if (const auto step = io::newest_checkpoint(run)) state["step"] = *step;
  return state;
}

}  // namespace

std::map<std::string, Json> states_of(const config::LoadedExperiment& experiment,
                                      const std::vector<std::string>& stages) {
  if (stages.size() > 1) io::check_can_make(experiment.options.run.output_dir);  // the report goes there
  std::map<std::string, Json> states;
  bool before_done = true;
  for (const std::string& stage : stages) {
    states[stage] = state_of(experiment, stage, before_done);
    before_done = states[stage].at("state") == "done";
  }
  return states;
}

}  // namespace d2dmoe::stages
