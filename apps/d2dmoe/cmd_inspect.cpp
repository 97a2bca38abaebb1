#include <iostream>
#include <memory>
#include <nlohmann/json.hpp>

#include "command.h"
#include "d2dmoe/stages/inspect.h"

namespace d2dmoe::app {

void add_inspect(CLI::App& app) {
  struct Arguments {
    std::string folder;
    bool json = false;
  };
  CLI::App* command =
      app.add_subcommand("inspect", "What a model folder holds: family, sites, experts, tau, hashes");
  auto arguments = std::make_shared<Arguments>();
  command->add_option("folder", arguments->folder, "Model folder, dense or converted")
      ->required()
      ->type_name("DIR");
  command->add_flag("--json", arguments->json, "As JSON");
  command->callback([=] {
    const auto facts = stages::inspect(arguments->folder);
    std::cout << (arguments->json ? facts.dump(2) + "\n" : stages::inspect_text(facts));
  });
}

}  // namespace d2dmoe::app
