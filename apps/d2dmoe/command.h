#pragma once

#include <CLI/CLI.hpp>
#include <functional>
#include <string>
#include <vector>

#include "d2dmoe/config/experiment.h"

namespace d2dmoe::app {

/// The options that every command driven by a config takes.
struct ConfigArguments {
  std::string config;
  std::vector<std::string> set;
  std::string device, output_dir;
  std::string threads, seed;  ///< kept as text: they go through the same checks as --set
  bool print_config = false, dry_run = false, json = false;

  void add_to(CLI::App& command, bool config_required);
  /// The config with every override applied.
  config::LoadedExperiment load() const;
};

/// Each adds its subcommand; the callback does the work when the subcommand was chosen.
void add_stage_commands(CLI::App& app);  ///< train, train-sparse, convert, sweep-tau
void add_run(CLI::App& app);
void add_eval(CLI::App& app);
void add_predict(CLI::App& app);
void add_report(CLI::App& app);
void add_export(CLI::App& app);
void add_inspect(CLI::App& app);
void add_schema(CLI::App& app);
void add_completion(CLI::App& app);

/// --print-config and --dry-run: prints what was asked for and returns true when that was all.
bool print_plan(const ConfigArguments& arguments, const config::LoadedExperiment& experiment,
                const std::vector<std::string>& stages);

}  // namespace d2dmoe::app
