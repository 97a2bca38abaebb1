#include <iostream>
#include <memory>

#include "command.h"
#include "d2dmoe/moe/converted_folder.h"

namespace d2dmoe::app {

void add_export(CLI::App& app) {
  struct Arguments {
    std::string from, to;
    bool original_order = false;
  };
  CLI::App* command = app.add_subcommand("export", "A converted folder as a plain dense Hugging Face folder");
  auto arguments = std::make_shared<Arguments>();
  command->add_option("from", arguments->from, "Converted model folder")->required()->type_name("DIR");
  command->add_option("to", arguments->to, "Folder to write")->required()->type_name("DIR");
  command->add_flag("--original-order", arguments->original_order,
                    "Undo the permutation: neurons as in the dense parent");
  command->callback([=] {
    moe::export_dense(arguments->from, arguments->to, arguments->original_order);
    std::cout << arguments->to << "\n";
  });
}

}  // namespace d2dmoe::app
