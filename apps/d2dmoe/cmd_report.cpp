#include <filesystem>
#include <iostream>
#include <memory>
#include <nlohmann/json.hpp>

#include "command.h"
#include "d2dmoe/core/device.h"
#include "d2dmoe/core/error.h"
#include "d2dmoe/io/atomic_file.h"
#include "d2dmoe/report/html_report.h"
#include "d2dmoe/stages/command_plan.h"
#include "d2dmoe/stages/compute_maps.h"

namespace d2dmoe::app {

namespace {

struct ReportArguments {
  ConfigArguments common;
  std::vector<std::string> runs;
  std::string page;
  stages::MapRequest maps;
};

/// The runs that are reported, and the page to write.
struct Report {
  std::vector<std::filesystem::path> runs;
  std::filesystem::path page;
};

Report resolved_report(const ReportArguments& arguments, const config::LoadedExperiment& experiment) {
  Report report{{arguments.runs.begin(), arguments.runs.end()},
                arguments.page.empty() ? "report.html" : arguments.page};
  const bool of_config = !arguments.common.config.empty() || !arguments.common.output_dir.empty();
  if (report.runs.empty() && of_config) {
    report.runs.emplace_back(experiment.options.run.output_dir);
    if (arguments.page.empty()) report.page = report.runs.front() / "report.html";
  }
  D2D_CHECK_USAGE(!report.runs.empty(),
                  "[report] no run was named. Hint: d2dmoe report runs/my_run, or --config FILE of a run");
  report::check_page(report.page);
  return report;
}

void add_report_options(CLI::App& command, ReportArguments& arguments) {
  arguments.common.add_to(command, false, /*short_output=*/false);
  command.add_option("runs", arguments.runs, "Output folders of experiments; by default that of the config")
      ->type_name("RUN");
  command
      .add_option(
          "-o,--output", arguments.page,
          "The page to write; by default report.html, in the folder of the config's run if there is one")
      ->type_name("FILE");
  auto& maps = arguments.maps;
  command
      .add_option("--maps", maps.images,
                  "Images over which the page draws how many experts each patch ran, in the runs' converted "
                  "vision models; stands behind the runs")
      ->type_name("IMAGE");
  command.add_option("--rule", maps.rule, "Selection rule of the maps; by default what the folder holds");
  command.add_option("--value", maps.value, "tau, p or k of that rule");
  command.add_option("--floor", maps.floor, "Floor c of that rule");
}

}  // namespace

void add_report(CLI::App& app) {
  CLI::App* command = app.add_subcommand("report", "One self-contained HTML page from any number of runs");
  auto arguments = std::make_shared<ReportArguments>();
  add_report_options(*command, *arguments);
  command->callback([=] {
    const auto experiment = arguments->common.load();
    auto maps = arguments->maps;
    maps.device = parse_device(experiment.options.run.device);
    maps.decode_threads = experiment.options.data.images.threads;
    const auto plan = [&] {
      const auto report = resolved_report(*arguments, experiment);
      return stages::plan_report(report.runs, report.page, maps.images);
    };
    if (only_planned(arguments->common, experiment, plan, stages::command_plan_text)) return;
    const auto report = resolved_report(*arguments, experiment);
    io::write_file(report.page, report::html_report(report.runs, stages::compute_maps(maps, report.runs)));
    const nlohmann::ordered_json result = {{"page", report.page.string()}};
    std::cout << (arguments->common.json ? result.dump(2) : report.page.string()) << "\n";
  });
}

}  // namespace d2dmoe::app
