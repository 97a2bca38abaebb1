#include <iostream>
#include <memory>
#include <nlohmann/json.hpp>

#include "command.h"
#include "d2dmoe/stages/command_plan.h"
#include "d2dmoe/stages/inspect.h"
#include "d2dmoe/stages/subject.h"

namespace d2dmoe::app {

void add_inspect(CLI::App& app) {
  CLI::App* command =
      app.add_subcommand("inspect", "What a model folder holds: family, sites, experts, tau, hashes");
  auto arguments = std::make_shared<ConfigArguments>();
  auto asked = std::make_shared<std::string>();
  arguments->add_to(*command, false);
  command
      ->add_option("-m,--model,folder", *asked,
                   "Model folder, dense or converted; by default the experiment's furthest finished stage's")
      ->type_name("DIR");
  command->callback([=] {
    const auto experiment = arguments->load();
    const auto folder = [&] { return stages::subject_folder(experiment, *asked, "inspect"); };
    const auto plan = [&] { return stages::plan_inspect(folder()); };
    if (only_planned(*arguments, experiment, plan, stages::command_plan_text)) return;
    const auto facts = stages::inspect(folder());
    std::cout << (arguments->json ? facts.dump(2) + "\n" : stages::inspect_text(facts));
  });
}

}  // namespace d2dmoe::app
