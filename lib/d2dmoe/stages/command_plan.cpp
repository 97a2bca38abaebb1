#include "d2dmoe/stages/command_plan.h"

#include <fstream>

#include "d2dmoe/core/error.h"
#include "d2dmoe/core/progress.h"
#include "d2dmoe/moe/converted_folder.h"
#include "d2dmoe/report/run_data.h"
#include "d2dmoe/stages/common.h"
#include "d2dmoe/stages/model_size.h"
#include "d2dmoe/stages/subject.h"

namespace d2dmoe::stages {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::ordered_json;

Json plan_of(const std::string& command, const fs::path& model, io::HfFolder& folder, const ModelSize& size) {
  Json reads = Json::array({(model / "config.json").string()});
  for (const fs::path& file : folder.weight_files()) reads.push_back(file.string());
  for (const char* name : {"d2dmoe.json", "routers.safetensors"}) {
    if (fs::exists(model / name)) reads.push_back((model / name).string());
  }
  return {{"command", command},
          {"model", model.string()},
          {"parameters", size.parameters},
          {"memory_bytes", size.weight_bytes()},
          {"reads", reads},
          {"writes", Json::array()}};
}

/// Adds what a forward pass over so many tokens takes.
/// @param batch_tokens  token rows of the largest batch
void add_cost(Json& plan, const ModelSize& size, double tokens, double batch_tokens) {
  // The rows of one layer live at a time: about 6 of the model width and 2 of the hidden width, float32.
  const double rows = 6.0 * static_cast<double>(size.hidden_size) + 2.0 * static_cast<double>(size.ffn_size);
  plan["memory_bytes"] = size.weight_bytes() + 4 * batch_tokens * rows;
  plan["tokens"] = tokens;
  plan["seconds"] = tokens * 2 * size.matrix_elements / (measured_flops() * kModelEfficiency);
}

}  // namespace

Json plan_eval(const config::LoadedExperiment& experiment, const EvalRequest& request) {
  const fs::path model = subject_folder(experiment, request.model, "eval");
  check_split_name(request.split);
  Inputs inputs = open_inputs(experiment, model, {request.split});
  const auto& dataset = inputs.data.split(request.split);
  const ModelSize size = model_size(inputs.folder);
  const auto tokens = static_cast<double>(dataset.tokens());
  const auto sentences = static_cast<double>(dataset.size());
  const auto batch = static_cast<double>(experiment.options.sweep_tau.batch_size);

  Json plan = plan_of("eval", model, inputs.folder, size);
  const auto& data = experiment.options.data;
  const bool cut = request.split == "validation" && data.validation.empty();
  plan["reads"].push_back(request.split == "test"           ? data.test
                          : request.split == "train" || cut ? data.train
                                                            : data.validation);
  plan["split"] = request.split;
  plan["sentences"] = sentences;
  add_cost(plan, size, tokens, sentences > 0 ? tokens / sentences * batch : 0);
  return plan;
}

Json plan_predict(const PredictRequest& request, const std::string& input) {
  check_request(request);
  io::HfFolder folder(request.model);
  const ModelSize size = model_size(folder);
  Json plan = plan_of("predict", request.model, folder, size);
  plan["reads"].push_back(input == "-" ? "stdin" : input);
  plan["writes"].push_back("stdout");
  plan["max_length"] = request.max_length;
  if (input == "-") return plan;

  D2D_CHECK_USAGE(fs::is_regular_file(input), "[predict] '{}': is no text file. Hint: - reads stdin", input);
  const auto tokenizer = tokenizer::load_tokenizer(request.model);
  std::ifstream file(input);
  double sentences = 0, tokens = 0;
  for (std::string line; std::getline(file, line); ++sentences) {
    tokens += static_cast<double>(tokenizer->encode(line, nullptr, request.max_length).ids.size());
  }
  plan["sentences"] = sentences;
  const auto batch = static_cast<double>(request.batch_size);
  add_cost(plan, size, tokens, sentences > 0 ? tokens / sentences * batch : 0);
  return plan;
}

Json plan_generate(const GenerateRequest& request) {
  eval::check_sampling(request.sampling);
  io::HfFolder folder(request.model);
  const ModelSize size = model_size(folder);
  Json plan = plan_of("generate", request.model, folder, size);
  plan["writes"].push_back("stdout");
  add_cost(plan, size, static_cast<double>(request.max_new_tokens), 1);
  return plan;
}

Json plan_inspect(const fs::path& model) {
  io::HfFolder folder(model);
  return plan_of("inspect", model, folder, model_size(folder));
}

Json plan_export(const fs::path& from, const fs::path& to) {
  moe::check_export(from, to);
  io::HfFolder folder(from);
  const ModelSize size = model_size(folder);
  Json plan = plan_of("export", from, folder, size);
  plan["writes"].push_back(to.string());
  plan["disk_bytes"] = size.weight_bytes();
  return plan;
}

Json plan_report(const std::vector<fs::path>& runs, const fs::path& page) {
  Json plan = {{"command", "report"},
               {"reads", Json::array()},
               {"writes", {page.string()}},
               {"missing", Json::array()}};
  for (const fs::path& dir : runs) {
    const auto run = report::read_run(dir);
    for (const auto& [stage, data] : run.stages) {
      const fs::path folder = run.dir / stage;
      plan["reads"].push_back(fs::is_directory(folder) ? folder.string() : run.dir.string());
    }
    for (const std::string& file : run.missing) plan["missing"].push_back(file);
  }
  return plan;
}

std::string command_plan_text(const Json& plan) {
  std::string text;
  const auto line = [&](const char* name, const std::string& value) {
    text += format("{:<13}{}\n", name, value);
  };
  if (plan.contains("model")) {
    line("model",
         format("{}, {} parameters", plan.at("model").get<std::string>(), count_text(plan.at("parameters"))));
  }
  for (const char* list : {"reads", "writes"}) {
    for (const auto& path : plan.at(list)) line(list, path.get<std::string>());
    if (plan.at(list).empty()) line(list, "nothing");
  }
  if (plan.contains("sentences")) line("texts", count_text(plan.at("sentences")));
  if (plan.contains("memory_bytes")) {
    const auto seconds = plan.find("seconds");
    line("needs", (seconds == plan.end() ? "" : "about " + duration_text(*seconds) + " and ") +
                      bytes_text(plan.at("memory_bytes")) + " of memory");
  }
  if (plan.contains("disk_bytes")) line("disk", bytes_text(plan.at("disk_bytes")));
  return text;
}

}  // namespace d2dmoe::stages
