#include <iostream>
#include <memory>

#include "command.h"
#include "d2dmoe/io/atomic_file.h"
#include "d2dmoe/report/html_report.h"

namespace d2dmoe::app {

void add_report(CLI::App& app) {
  struct Arguments {
    std::vector<std::string> runs;
    std::string output = "report.html";
  };
  CLI::App* command = app.add_subcommand("report", "One self-contained HTML page from any number of runs");
  auto arguments = std::make_shared<Arguments>();
  command->add_option("runs", arguments->runs, "Output folders of experiments")->required()->type_name("RUN");
  command->add_option("-o,--output", arguments->output, "The page to write")
      ->capture_default_str()
      ->type_name("FILE");
  command->callback([=] {
    io::write_file(arguments->output, report::html_report({arguments->runs.begin(), arguments->runs.end()}));
    std::cout << arguments->output << "\n";
  });
}

}  // namespace d2dmoe::app
