#include <iostream>
#include <memory>
#include <nlohmann/json.hpp>

#include "command.h"
#include "d2dmoe/stages/run.h"

namespace d2dmoe::app {

void add_run(CLI::App& app) {
  CLI::App* command = app.add_subcommand("run", "All stages of a config, going on where it stopped");
  auto arguments = std::make_shared<ConfigArguments>();
  arguments->add_to(*command, true);
  command->callback([=] {
    const auto experiment = arguments->load();
    const auto order = arguments->print_config ? std::vector<std::string>() : stages::stage_order(experiment);
    if (only_planned(*arguments, experiment, order)) return;
    const auto result = stages::run(experiment);
    std::cout << (arguments->json ? result.dump(2) + "\n" : stages::run_text(experiment, result));
  });
}

}  // namespace d2dmoe::app
