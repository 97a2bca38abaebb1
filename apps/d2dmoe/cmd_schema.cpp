#include <iostream>
#include <memory>
#include <nlohmann/json.hpp>

#include "command.h"

namespace d2dmoe::app {

void add_schema(CLI::App& app) {
  CLI::App* command =
      app.add_subcommand("schema", "JSON schema of the experiment config (docs/config.schema.json)");
  auto markdown = std::make_shared<bool>(false);
  command->add_flag("--markdown", *markdown,
                    "The reference of all keys as Markdown instead (docs/config.md)");
  command->callback(
      [=] { std::cout << (*markdown ? config::markdown_reference() : config::schema().dump(2) + "\n"); });
}

}  // namespace d2dmoe::app
