#include <iostream>
#include <memory>
#include <nlohmann/json.hpp>

#include "command.h"
#include "d2dmoe/core/device.h"
#include "d2dmoe/core/error.h"
#include "d2dmoe/core/log.h"
#include "d2dmoe/stages/command_plan.h"
#include "d2dmoe/stages/generate.h"
#include "d2dmoe/stages/subject.h"

namespace d2dmoe::app {
namespace {

struct GenerateArguments {
  ConfigArguments common;
  stages::GenerateRequest request;
  std::string input;
};

void add_generate_options(CLI::App& command, GenerateArguments& arguments) {
  auto& request = arguments.request;
  auto& sampling = request.sampling;
  command
      .add_option("-m,--model", request.model,
                  "Model folder, dense or converted; by default the experiment's furthest finished stage's")
      ->type_name("DIR");
  command.add_option("-p,--prompt", request.prompts, "Text to go on with; may be given several times")
      ->type_name("TEXT");
  command
      .add_option("input", arguments.input,
                  "File with one prompt per line, an empty line being an empty prompt; - = stdin")
      ->type_name("FILE");
  command.add_option("-n,--max-new-tokens", request.max_new_tokens,
                     format("Tokens at most; by default {}, or as many as fit behind the longest prompt",
                            eval::GenerateOptions().max_new_tokens));
  command.add_option("-t,--temperature", sampling.temperature, "0 = greedy: always the likeliest token")
      ->capture_default_str();
  command.add_option("--top-k", sampling.top_k, "Draw from the k likeliest; 0 = all")->capture_default_str();
  command.add_option("--top-p", sampling.top_p, "Draw from the fewest likeliest that sum to at least p")
      ->capture_default_str();
  command
      .add_option("--repetition-penalty", sampling.repetition_penalty,
                  "Above 1: tokens that stand in the text become less likely")
      ->capture_default_str();
  command.add_option("--stop", request.stop, "Text before which the output ends; may be given several times")
      ->type_name("TEXT");
  command.add_flag("--ignore-end", request.ignore_end, "Go on behind the model's end token");
  command.add_option("--rule", request.rule, "Selection rule; by default what the folder holds");
  command.add_option("--value", request.value, "tau, p or k of that rule");
  command.add_option("--floor", request.floor, "Floor c of that rule");
}

stages::GenerateRequest generate_request(const GenerateArguments& arguments,
                                         const config::LoadedExperiment& experiment) {
  stages::GenerateRequest request = arguments.request;
  request.model = stages::subject_folder(experiment, request.model, "generate").string();
  request.device = parse_device(experiment.options.run.device);
  request.sampling.seed = static_cast<uint64_t>(experiment.options.run.seed);
  request.json = arguments.common.json;
  return request;
}

/// Without prompts of the command line: those of the input.
void read_input(const GenerateArguments& arguments, stages::GenerateRequest& request) {
  D2D_CHECK_USAGE(request.prompts.empty() || arguments.input.empty(),
                  "[generate] both --prompt and '{}' are given. Hint: one of them", arguments.input);
  if (!request.prompts.empty()) return;
  const std::string input = arguments.input.empty() ? "-" : arguments.input;
  request.prompts = stages::read_prompts(input);
  request.origin = input == "-" ? "stdin" : input;
}

}  // namespace

void add_generate(CLI::App& app) {
  CLI::App* command = app.add_subcommand("generate", "Text that goes on from prompts, by a language model");
  auto arguments = std::make_shared<GenerateArguments>();
  arguments->common.add_to(*command, false);
  add_generate_options(*command, *arguments);
  command->callback([=] {
    const auto experiment = arguments->common.load();
    const auto plan = [&] { return stages::plan_generate(generate_request(*arguments, experiment)); };
    if (only_planned(arguments->common, experiment, plan, stages::command_plan_text)) return;
    auto request = generate_request(*arguments, experiment);
    read_input(*arguments, request);
    const auto run = stages::generate(request, std::cout);
    log::write(log::Level::info, stages::generation_text(run));
  });
}

}  // namespace d2dmoe::app
