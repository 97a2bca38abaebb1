#include <iostream>
#include <memory>
#include <nlohmann/json.hpp>

#include "command.h"
#include "d2dmoe/core/error.h"
#include "d2dmoe/moe/converted_folder.h"
#include "d2dmoe/stages/command_plan.h"
#include "d2dmoe/stages/subject.h"

namespace d2dmoe::app {

void add_export(CLI::App& app) {
  struct Arguments {
    ConfigArguments common;
    std::vector<std::string> folders;
    std::string model;
    bool original_order = false;
  };
  CLI::App* command = app.add_subcommand("export", "A converted folder as a plain dense Hugging Face folder");
  auto arguments = std::make_shared<Arguments>();
  arguments->common.add_to(*command, false);
  command
      ->add_option("folders", arguments->folders,
                   "Converted model folder (by default that of the experiment) and folder to write")
      ->expected(0, 2)
      ->type_name("[FROM] TO");
  command->add_option("-m,--model", arguments->model, "Converted model folder, in place of FROM")
      ->type_name("DIR");
  command->add_flag("--original-order", arguments->original_order,
                    "Undo the permutation: neurons as in the dense parent");
  command->callback([=] {
    const auto experiment = arguments->common.load();
    const auto& folders = arguments->folders;
    const auto endpoints = [&] {
      D2D_CHECK_USAGE(!folders.empty(),
                      "[export] no folder to write was given. Hint: d2dmoe export FROM TO, or d2dmoe export "
                      "TO --config FILE");
      D2D_CHECK_USAGE(folders.size() < 2 || arguments->model.empty(),
                      "[export] '{}': two folders to read were given, this one and -m's", folders.front());
      const auto from = stages::subject_folder(
          experiment, folders.size() == 2 ? folders.front() : arguments->model, "export");
      return std::pair(from, std::filesystem::path(folders.back()));
    };
    const auto plan = [&] {
      const auto [from, to] = endpoints();
      return stages::plan_export(from, to);
    };
    if (only_planned(arguments->common, experiment, plan, stages::command_plan_text)) return;
    const auto [from, to] = endpoints();
    moe::export_dense(from, to, arguments->original_order);
    const nlohmann::ordered_json result = {{"from", from.string()}, {"folder", to.string()}};
    std::cout << (arguments->common.json ? result.dump(2) : to.string()) << "\n";
  });
}

}  // namespace d2dmoe::app
