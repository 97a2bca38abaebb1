#include <iostream>
#include <memory>
#include <nlohmann/json.hpp>

#include "command.h"
#include "d2dmoe/stages/stages.h"
#include "d2dmoe/stages/summary.h"

namespace d2dmoe::app {
namespace {

using Stage = nlohmann::ordered_json (*)(const config::LoadedExperiment&);

CLI::App* add_stage(CLI::App& app, const std::string& command_name, const std::string& stage_name,
                    Stage stage, const std::string& help, std::shared_ptr<ConfigArguments> arguments) {
  CLI::App* command = app.add_subcommand(command_name, help);
  arguments->add_to(*command, true);
  command->callback([=] {
    const auto experiment = arguments->load();
    if (only_planned(*arguments, experiment, {stage_name})) return;
    const auto result = stage(experiment);
    std::cout << (arguments->json ? result.dump(2) + "\n" : stages::summary(stage_name, experiment, result));
  });
  return command;
}

}  // namespace

void add_stage_commands(CLI::App& app) {
  add_stage(app, "train", "train", stages::train,
            "Fine-tune the dense model: the baseline and the start of stage 1",
            std::make_shared<ConfigArguments>());
  add_stage(app, "train-sparse", "train_sparse", stages::train_sparse,
            "Stage 1: fine-tune under a sparsity penalty", std::make_shared<ConfigArguments>());
  add_stage(app, "convert", "convert", stages::convert,
            "Stage 2: split neurons into experts and train routers", std::make_shared<ConfigArguments>());
  add_stage(app, "train-routed", "train_routed", stages::train_routed,
            "Fine-tune the converted model with the experts that its routers choose",
            std::make_shared<ConfigArguments>());

  auto arguments = std::make_shared<ConfigArguments>();
  CLI::App* sweep = add_stage(app, "sweep-tau", "sweep_tau", stages::sweep_tau,
                              "Stage 3: cost and quality over the selection threshold", arguments);
  const auto shortcut = [&](const std::string& flag, const std::string& key, const std::string& help) {
    sweep->add_option_function<std::string>(
        flag, [=](const std::string& value) { arguments->set.push_back("sweep_tau." + key + "=" + value); },
        help);
  };
  shortcut("--points", "points", "Number of points, placed evenly in cost");
  shortcut("--taus", "taus", "Thresholds to measure, as a JSON list: [0.05,0.1]");
  shortcut("--rule", "rule", "Selection rule");
  shortcut("--budget", "budget", "Calibrate tau per site: cost at most this share of the dense FLOPs");
  shortcut("--max-drop", "max_drop", "Calibrate tau per site: lose at most so many points of the metric");
}

}  // namespace d2dmoe::app
