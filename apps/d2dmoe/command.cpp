#include "command.h"

#include <algorithm>
#include <iostream>
#include <nlohmann/json.hpp>

#include "d2dmoe/core/device.h"
#include "d2dmoe/stages/plan.h"

namespace d2dmoe::app {

void ConfigArguments::add_to(CLI::App& command, bool config_required, bool short_output) {
  auto* file =
      command.add_option("-c,--config", config, "Experiment config (JSON; docs/config.md lists its keys)")
          ->type_name("FILE");
  if (config_required) file->required();
  command.add_option("--set", set, "Override one key of the config, for example train.optimizer.lr=5e-5")
      ->type_name("PATH=VALUE")
      ->allow_extra_args(false)  // what stands behind the value is the command's
      ->take_all();
  command.add_option("--device", device, "auto, cpu, cuda or cuda:N");
  command.add_option("--threads", threads, "CPU threads; 0 = all cores");
  command.add_option("--seed", seed, "Seed of everything random");
  command.add_option(short_output ? "-o,--output-dir" : "--output-dir", output_dir, "Folder of the run")
      ->type_name("DIR")
      ->check([](const std::string& text) { return text.empty() ? "must be a folder, got nothing" : ""; });
  command.add_flag("--print-config", print_config, "Print the resolved config and stop");
  command.add_flag("--dry-run", dry_run,
                   "Print the config, what would be read and written, parameters, memory and time, and stop");
  command.add_flag("--json", json, "Result as JSON on stdout");
}

config::LoadedExperiment ConfigArguments::load() const {
  std::vector<std::string> overrides = set;
  const auto add = [&](const char* key, const std::string& value) {
    if (!value.empty()) overrides.push_back(std::string(key) + "=" + value);
  };
  add("device", device);
  add("threads", threads);
  add("seed", seed);
  add("output_dir", output_dir);
  auto experiment = config::load_experiment(config, overrides);
  set_threads(static_cast<int>(experiment.options.run.threads));
  return experiment;
}

bool ConfigArguments::chosen(const std::string& key) const {
  return !config.empty() || std::any_of(set.begin(), set.end(), [&](const std::string& override) {
    return override.starts_with(key + "=");
  });
}

bool only_planned(const ConfigArguments& arguments, const config::LoadedExperiment& experiment,
                  const Plan& plan, PlanText text) {
  if (arguments.print_config) {
    std::cout << config::to_json(experiment.options).dump(2) << "\n";
    return true;
  }
  if (!arguments.dry_run) return false;
  const auto planned = plan();
  if (arguments.json) {
    std::cout << planned.dump(2) << "\n";
  } else {
    std::cout << config::to_json(experiment.options).dump(2) << "\n" << text(planned);
  }
  return true;
}

bool only_planned(const ConfigArguments& arguments, const config::LoadedExperiment& experiment,
                  const std::vector<std::string>& stages) {
  nlohmann::ordered_json planned;
  const auto plan = [&] { return planned = stages::plan(experiment, stages); };
  const bool only = only_planned(arguments, experiment, plan, stages::plan_text);
  if (!planned.is_null()) stages::check_plan(planned);
  return only;
}

}  // namespace d2dmoe::app
