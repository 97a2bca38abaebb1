#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <iostream>
#include <memory>
#include <nlohmann/json.hpp>

#include "command.h"
#include "d2dmoe/core/device.h"
#include "d2dmoe/core/error.h"
#include "d2dmoe/core/stop_aware_input.h"
#include "d2dmoe/stages/command_plan.h"
#include "d2dmoe/stages/predict.h"
#include "d2dmoe/stages/subject.h"

namespace d2dmoe::app {
namespace {

struct Arguments {
  ConfigArguments common;
  stages::PredictRequest request;
  std::optional<int64_t> max_length;
  std::vector<std::string> inputs;
};

void add_options(CLI::App& command, Arguments& arguments) {
  auto& request = arguments.request;
  command
      .add_option("-m,--model", request.model,
                  "Model folder, dense or converted; by default the experiment's furthest finished stage's")
      ->type_name("DIR");
  command
      .add_option("input", arguments.inputs,
                  "File of one text per line, or for a vision model images (.jpg, .png), or a file of one "
                  "image path per line; by default, and with -, stdin")
      ->type_name("FILE");
  command.add_flag("--tokens", request.tokens,
                   "Each token, or each patch of an image, with the share of experts that it ran");
  command.add_flag("--logits", request.logits,
                   "The model's outputs before softmax, in the order of the classes");
  command.add_option("--pair-separator", request.pair_separator,
                     "Splits a line into two texts, for models of sentence pairs");
  command.add_option("--rule", request.rule, "Selection rule; by default what the folder holds");
  command.add_option("--value", request.value, "tau, p or k of that rule");
  command.add_option("--floor", request.floor, "Floor c of that rule");
  command.add_option("--batch-size", request.batch_size, "Texts or images per batch")->capture_default_str();
  command.add_option("--max-length", arguments.max_length,
                     "Tokens per text; 0 = the model's limit; by default the config's data.max_length");
}

/// The request with what the experiment says filled in.
stages::PredictRequest resolved(const Arguments& arguments, const config::LoadedExperiment& experiment) {
  stages::PredictRequest request = arguments.request;
  request.model = stages::subject_folder(experiment, request.model, "predict").string();
  request.device = parse_device(experiment.options.run.device);
  if (arguments.common.chosen("data.max_length")) request.max_length = experiment.options.data.max_length;
  if (arguments.max_length) request.max_length = *arguments.max_length;
  request.decode_threads = experiment.options.data.images.threads;
  return request;
}

}  // namespace

void add_predict(CLI::App& app) {
  CLI::App* command = app.add_subcommand("predict", "Labels for lines of text or for images, as JSON lines");
  auto arguments = std::make_shared<Arguments>();
  arguments->common.add_to(*command, false);
  add_options(*command, *arguments);
  command->callback([=] {
    const auto experiment = arguments->common.load();
    const auto input = stages::predict_input(arguments->inputs);
    const auto plan = [&] { return stages::plan_predict(resolved(*arguments, experiment), input); };
    if (only_planned(arguments->common, experiment, plan, stages::command_plan_text)) return;
    const auto request = resolved(*arguments, experiment);
    if (input.images.empty() && input.file == "-") {
      StopAwareInput buffer(STDIN_FILENO);
      std::istream in(&buffer);
      stages::predict(request, input, in, std::cout);
      return;
    }
    std::ifstream file;
    if (input.images.empty()) {
      file.open(input.file);
      D2D_CHECK_USAGE(file.good() && !std::filesystem::is_directory(input.file),
                      "[predict] '{}': cannot be read. Hint: give a file of lines, images, or - for stdin",
                      input.file);
    }
    stages::predict(request, input, file, std::cout);
  });
}

}  // namespace d2dmoe::app
