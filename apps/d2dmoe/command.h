#pragma once

#include <CLI/CLI.hpp>
#include <functional>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

#include "d2dmoe/config/experiment.h"

namespace d2dmoe::app {

/// The options that every command takes.
struct ConfigArguments {
  std::string config;
  std::vector<std::string> set;
  std::string device, output_dir;
  std::string threads, seed;  ///< kept as text: they go through the same checks as --set
  bool print_config = false, dry_run = false, json = false;

  /// @param config_required  whether the command cannot do without an experiment
  /// @param short_output     whether -o is free to mean --output-dir
  void add_to(CLI::App& command, bool config_required, bool short_output = true);
  /// The config with every override applied.
  config::LoadedExperiment load() const;
  /// Whether the key's value was chosen by the user: in a config, or with --set.
  bool chosen(const std::string& key) const;
};

/// Each adds its subcommand; the callback does the work when the subcommand was chosen.
void add_stage_commands(CLI::App& app);  ///< train, train-sparse, convert, train-routed, sweep-tau
void add_run(CLI::App& app);
void add_eval(CLI::App& app);
void add_predict(CLI::App& app);
void add_generate(CLI::App& app);
void add_bench(CLI::App& app);
void add_report(CLI::App& app);
void add_export(CLI::App& app);
void add_inspect(CLI::App& app);
void add_schema(CLI::App& app);
void add_completion(CLI::App& app);

using Plan = std::function<nlohmann::ordered_json()>;
using PlanText = std::string (*)(const nlohmann::ordered_json&);
/// --print-config and --dry-run: prints what was asked for and returns true when that was all.
/// @param plan  what the command would do; called for --dry-run only
bool only_planned(const ConfigArguments& arguments, const config::LoadedExperiment& experiment,
                  const Plan& plan, PlanText text);
/// The same for commands that run stages.
/// @throws UsageError  behind the whole plan: a stage would be refused
bool only_planned(const ConfigArguments& arguments, const config::LoadedExperiment& experiment,
                  const std::vector<std::string>& stages);

/// One sentence for what the command line cannot be: names the word, the nearest command or option, and where
/// help stands.
std::string usage_message(const CLI::App& app, const CLI::ParseError& error);

}  // namespace d2dmoe::app
