#include <iostream>
#include <memory>
#include <nlohmann/json.hpp>

#include "command.h"
#include "d2dmoe/stages/command_plan.h"
#include "d2dmoe/stages/evaluate.h"

namespace d2dmoe::app {

void add_eval(CLI::App& app) {
  CLI::App* command =
      app.add_subcommand("eval", "Quality and cost of one model folder on one split of the data");
  auto arguments = std::make_shared<ConfigArguments>();
  auto request = std::make_shared<stages::EvalRequest>();
  arguments->add_to(*command, true);
  command->add_option("-m,--model", request->model, "Model folder; by default the furthest finished stage's")
      ->type_name("DIR");
  command->add_option("--split", request->split, "train, validation or test")->capture_default_str();
  command->add_option("--rule", request->rule, "Selection rule; by default what the folder holds");
  command->add_option("--value", request->value, "tau, p or k of that rule");
  command->add_option("--floor", request->floor, "Floor c of that rule");
  command->callback([=] {
    const auto experiment = arguments->load();
    const auto plan = [&] { return stages::plan_eval(experiment, *request); };
    if (only_planned(*arguments, experiment, plan, stages::command_plan_text)) return;
    const auto result = stages::evaluate(experiment, *request);
    std::cout << (arguments->json ? result.dump(2) + "\n" : stages::evaluation_text(result));
  });
}

}  // namespace d2dmoe::app
