#include <filesystem>
#include <fstream>
#include <iostream>
#include <memory>

#include "command.h"
#include "d2dmoe/core/device.h"
#include "d2dmoe/core/error.h"
#include "d2dmoe/stages/predict.h"

namespace d2dmoe::app {

void add_predict(CLI::App& app) {
  struct Arguments {
    stages::PredictRequest request;
    std::string input = "-", device = "auto";
    int threads = 0;
  };
  CLI::App* command = app.add_subcommand("predict", "Labels for lines of text, as JSON lines");
  auto arguments = std::make_shared<Arguments>();
  command->add_option("-m,--model", arguments->request.model, "Model folder, dense or converted")
      ->required()
      ->type_name("DIR");
  command->add_option("input", arguments->input, "Text file, one text per line; - = stdin")
      ->capture_default_str();
  command->add_flag("--tokens", arguments->request.tokens,
                    "Each token with the share of experts that it ran");
  command->add_option("--pair-separator", arguments->request.pair_separator,
                      "Splits a line into two texts, for models of sentence pairs");
  command->add_option("--rule", arguments->request.rule, "Selection rule; by default what the folder holds");
  command->add_option("--value", arguments->request.value, "tau, p or k of that rule");
  command->add_option("--batch-size", arguments->request.batch_size, "Texts per batch")
      ->capture_default_str();
  command->add_option("--max-length", arguments->request.max_length, "Tokens per text; 0 = the model's limit")
      ->capture_default_str();
  command->add_option("--device", arguments->device, "auto, cpu, cuda or cuda:N");
  command->add_option("--threads", arguments->threads, "CPU threads; 0 = all cores");
  command->callback([=] {
    set_threads(arguments->threads);
    arguments->request.device = parse_device(arguments->device);
    if (arguments->input == "-") {
      stages::predict(arguments->request, std::cin, "stdin", std::cout);
      return;
    }
    std::ifstream file(arguments->input);
    D2D_CHECK_USAGE(file.good() && !std::filesystem::is_directory(arguments->input),
                    "[predict] '{}': cannot be read. Hint: give a text file, or - for stdin",
                    arguments->input);
    stages::predict(arguments->request, file, arguments->input, std::cout);
  });
}

}  // namespace d2dmoe::app
