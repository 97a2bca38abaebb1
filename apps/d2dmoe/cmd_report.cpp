#include <filesystem>
#include <iostream>
#include <memory>
#include <nlohmann/json.hpp>

#include "command.h"
#include "d2dmoe/core/error.h"
#include "d2dmoe/io/atomic_file.h"
#include "d2dmoe/report/html_report.h"
#include "d2dmoe/stages/command_plan.h"

namespace d2dmoe::app {

void add_report(CLI::App& app) {
  struct Arguments {
    ConfigArguments common;
    std::vector<std::string> runs;
    std::string page;
  };
  CLI::App* command = app.add_subcommand("report", "One self-contained HTML page from any number of runs");
  auto arguments = std::make_shared<Arguments>();
  arguments->common.add_to(*command, false, /*short_output=*/false);
  command->add_option("runs", arguments->runs, "Output folders of experiments; by default that of the config")
      ->type_name("RUN");
  command
      ->add_option(
          "-o,--output", arguments->page,
          "The page to write; by default report.html, in the folder of the config's run if there is one")
      ->type_name("FILE");
  command->callback([=] {
    const auto experiment = arguments->common.load();
    std::vector<std::filesystem::path> runs(arguments->runs.begin(), arguments->runs.end());
    std::filesystem::path page = arguments->page.empty() ? "report.html" : arguments->page;
    const bool of_config = !arguments->common.config.empty() || !arguments->common.output_dir.empty();
    if (runs.empty() && of_config) {
      runs.emplace_back(experiment.options.run.output_dir);
      if (arguments->page.empty()) page = runs.front() / "report.html";
    }
    const auto check = [&] {
      D2D_CHECK_USAGE(
          !runs.empty(),
          "[report] no run was named. Hint: d2dmoe report runs/my_run, or --config FILE of a run");
    };
    const auto plan = [&] {
      check();
      return stages::plan_report(runs, page);
    };
    if (only_planned(arguments->common, experiment, plan, stages::command_plan_text)) return;
    check();
    io::write_file(page, report::html_report(runs));
    const nlohmann::ordered_json result = {{"page", page.string()}};
    std::cout << (arguments->common.json ? result.dump(2) : page.string()) << "\n";
  });
}

}  // namespace d2dmoe::app
