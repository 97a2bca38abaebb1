#include "d2dmoe/stages/run.h"

#include <algorithm>

#include "d2dmoe/core/error.h"
#include "d2dmoe/core/log.h"
#include "d2dmoe/io/atomic_file.h"
#include "d2dmoe/report/html_report.h"
#include "d2dmoe/stages/common.h"
#include "d2dmoe/stages/plan.h"
#include "d2dmoe/stages/stages.h"
#include "d2dmoe/stages/summary.h"

namespace d2dmoe::stages {
namespace {

struct NamedStage {
  const char* name;
  nlohmann::ordered_json (*run)(const config::LoadedExperiment&);
};
constexpr NamedStage kRunners[] = {{"train", train},
                                   {"train_sparse", train_sparse},
                                   {"convert", convert},
                                   {"train_routed", train_routed},
                                   {"sweep_tau", sweep_tau}};

static_assert(std::size(kRunners) == config::kStages.size());

bool finished(const config::LoadedExperiment& experiment, const std::vector<std::string>& order) {
  return std::all_of(order.begin(), order.end(), [&](const std::string& stage) {
    return std::filesystem::exists(stage_dir(experiment, stage) / "result.json");
  });
}

}  // namespace

std::vector<std::string> stage_order(const config::LoadedExperiment& experiment) {
  std::vector<std::string> order;
  for (const std::string stage : config::kStages) {
    const bool runs = experiment.stages.count(stage) > 0;
    D2D_CHECK_USAGE(
        runs || !experiment.overridden.count(stage),
        "[run] '--set {}': the config has no block \"{}\", so that this stage does not run. Hint: "
        "write \"{}\": {{}} into '{}', or leave the override away",
        stage, stage, stage, experiment.file);
    if (runs) order.push_back(stage);
  }
  return order;
}

nlohmann::ordered_json run_stage(const std::string& name, const config::LoadedExperiment& experiment) {
  for (const auto& stage : kRunners) {
    if (name == stage.name) return stage.run(experiment);
  }
  throw UsageError(format("[run] '{}': no such stage", name));
}

nlohmann::ordered_json run(const config::LoadedExperiment& experiment) {
  const auto order = stage_order(experiment);
  D2D_CHECK_USAGE(!order.empty(), "[run] '{}': the config holds none of {}", experiment.file,
                  join({config::kStages.begin(), config::kStages.end()}, ", "));
  if (!finished(experiment, order)) {
    // Whatever a later stage would refuse is found before the first one trains.
    const auto planned = plan(experiment, order);
    for (const auto& [stage, entry] : planned.at("stages").items()) {
      if (entry.contains("refusal")) run_stage(stage, experiment);  // says so itself
    }
    log::info("plan\n{}", plan_text(planned));
  }
  nlohmann::ordered_json results;
  for (const std::string& stage : order) {
    log::info("stage {}", stage);
    results[stage] = run_stage(stage, experiment);
  }
  const std::filesystem::path output_dir = experiment.options.run.output_dir;
  io::write_file(output_dir / "report.html", report::html_report({output_dir}));
  return results;
}

std::string run_text(const config::LoadedExperiment& experiment, const nlohmann::ordered_json& results) {
  std::string text;
  for (const auto& [stage, result] : results.items()) text += summary(stage, experiment, result) + "\n";
  const std::filesystem::path output_dir = experiment.options.run.output_dir;
  return text + format("report  {}\n", (output_dir / "report.html").string());
}

}  // namespace d2dmoe::stages
