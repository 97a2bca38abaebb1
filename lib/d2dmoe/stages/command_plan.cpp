#include "d2dmoe/stages/command_plan.h"

#include <fstream>

#include "d2dmoe/core/error.h"
#include "d2dmoe/core/progress.h"
#include "d2dmoe/data/image_preprocess.h"
#include "d2dmoe/moe/converted_folder.h"
#include "d2dmoe/report/run_data.h"
#include "d2dmoe/stages/common.h"
#include "d2dmoe/stages/model_size.h"
#include "d2dmoe/stages/subject.h"

namespace d2dmoe::stages {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::ordered_json;

/// Adds what the process takes. @param bytes  of weights and batches
void add_memory(Json& plan, double bytes) {
  const int64_t program = whole(resident_bytes()), memory = whole(bytes);
  plan["memory_bytes"] = memory;
  plan["program_bytes"] = program;
  plan["peak_bytes"] = program + memory;
}

Json plan_of(const std::string& command, const fs::path& model, const io::HfFolder& folder,
             double parameters) {
  Json reads = Json::array({(model / "config.json").string()});
  for (const fs::path& file : folder.weight_files()) reads.push_back(file.string());
  for (const char* name : {"d2dmoe.json", "routers.safetensors"}) {
    if (fs::exists(model / name)) reads.push_back((model / name).string());
  }
  Json plan = {{"command", command},
               {"model", model.string()},
               {"parameters", whole(parameters)},
               {"reads", reads},
               {"writes", Json::array()}};
  add_memory(plan, 4 * parameters);
  return plan;
}

/// Adds what forward passes take.
/// @param flops, tokens  of all examples
/// @param batch_tokens   token rows of the largest batch
void add_cost(Json& plan, const ModelSize& size, double flops, double tokens, double batch_tokens) {
  add_memory(plan, size.weight_bytes() + batch_tokens * size.forward_bytes_per_token());
  plan["tokens"] = whole(tokens);
  plan["seconds"] = flops / (measured_flops() * kModelEfficiency);
}

std::string memory_text(const Json& plan) {
  if (!plan.contains("peak_bytes")) return bytes_text(plan.at("memory_bytes")) + " of memory";
  return format("{} of memory, {} of it the program itself", bytes_text(plan.at("peak_bytes")),
                bytes_text(plan.at("program_bytes")));
}

/// Token rows of every line of predict's input.
std::vector<int64_t> lengths_of(const PredictRequest& request, const PredictInput& input,
                                const models::Model& model) {
  std::vector<int64_t> lengths;
  const auto image = model.image_geometry();
  check_input(request, input, image.has_value());
  if (image) {
    const auto size = data::read_image_processor(request.model, *image).output_size();
    const auto grid = size ? image->grid(size->first, size->second) : image->grid();
    lengths.assign(input.images.size(), grid.tokens());
    if (!input.images.empty()) return lengths;
    std::ifstream file(input.file);
    for (std::string line; std::getline(file, line);) lengths.push_back(grid.tokens());
    return lengths;
  }
  const auto tokenizer = tokenizer::load_tokenizer(request.model);
  std::ifstream file(input.file);
  for (std::string line; std::getline(file, line);) {
    lengths.push_back(static_cast<int64_t>(tokenizer->encode(line, nullptr, request.max_length).ids.size()));
  }
  return lengths;
}

}  // namespace

Json plan_eval(const config::LoadedExperiment& experiment, const EvalRequest& request) {
  const fs::path model = subject_folder(experiment, request.model, "eval");
  check_split_name(request.split);
  Inputs inputs =
      open_inputs(experiment, model, {request.split}, io::Weights::required, data::TextNeed::size);
  const auto& dataset = inputs.data.split(request.split);
  const ModelSize size(*outline_of(inputs.folder));
  const auto tokens = static_cast<double>(dataset.tokens());
  const auto examples = static_cast<double>(dataset.size());
  const auto batch = std::min(examples, static_cast<double>(experiment.options.sweep_tau.batch_size));

  Json plan = plan_of("eval", model, inputs.folder, size.parameters());
  const auto& data = experiment.options.data;
  const bool cut = request.split == "validation" && data.validation.empty();
  plan["reads"].push_back(request.split == "test"           ? data.test
                          : request.split == "train" || cut ? data.train
                                                            : data.validation);
  plan["split"] = request.split;
  plan["unit"] = dataset.unit();
  plan["data_estimated"] = inputs.data.estimated;
  plan["sentences"] = dataset.size();
  add_cost(plan, size, size.flops(dataset), tokens, examples > 0 ? tokens / examples * batch : 0);
  return plan;
}

Json plan_predict(const PredictRequest& request, const PredictInput& input) {
  check_request(request);
  const io::HfFolder folder(request.model);
  const auto model = outline_of(folder);
  const ModelSize size(*model);
  Json plan = plan_of("predict", request.model, folder, size.parameters());
  plan["reads"].push_back(input.file == "-" ? "stdin" : input.file);
  if (!input.images.empty()) plan["reads"].back() = input.images;
  plan["writes"].push_back("stdout");
  plan["max_length"] = request.max_length;
  if (input.images.empty() && input.file == "-") return plan;

  D2D_CHECK_USAGE(!input.images.empty() || fs::is_regular_file(input.file),
                  "[predict] '{}': is no text file. Hint: - reads stdin", input.file);
  const auto lengths = lengths_of(request, input, *model);
  double flops = 0, tokens = 0;
  for (const int64_t length : lengths) {
    flops += size.flops(length);
    tokens += static_cast<double>(length);
  }
  const auto examples = static_cast<double>(lengths.size());
  plan["unit"] = model->image_geometry() ? "images" : "texts";
  plan["sentences"] = lengths.size();
  const auto batch = std::min(examples, static_cast<double>(request.batch_size));
  add_cost(plan, size, flops, tokens, examples > 0 ? tokens / examples * batch : 0);
  return plan;
}

Json plan_generate(const GenerateRequest& request) {
  eval::check_sampling(request.sampling);
  const io::HfFolder folder(request.model);
  const auto model = outline_of(folder);
  D2D_CHECK_USAGE(model->language_model() != nullptr,
                  "[generate] '{}': is a classifier, must be a language model. Hint: `d2dmoe predict`",
                  request.model);
  const ModelSize size(*model);
  Json plan = plan_of("generate", request.model, folder, size.parameters());
  plan["writes"].push_back("stdout");
  const auto prompts = static_cast<double>(std::max<size_t>(1, request.prompts.size()));
  const int64_t new_tokens = request.max_new_tokens.value_or(eval::GenerateOptions().max_new_tokens);
  add_cost(plan, size, prompts * size.flops(new_tokens), prompts * static_cast<double>(new_tokens), prompts);
  return plan;
}

Json plan_inspect(const fs::path& model) {
  io::HfFolder folder(model);
  return plan_of("inspect", model, folder, stored_parameters(folder));
}

Json plan_export(const fs::path& from, const fs::path& to) {
  moe::check_export(from, to);
  io::HfFolder folder(from);
  const double parameters = stored_parameters(folder);
  Json plan = plan_of("export", from, folder, parameters);
  plan["writes"].push_back(to.string());
  plan["disk_bytes"] = whole(4 * parameters);
  return plan;
}

Json plan_report(const std::vector<fs::path>& runs, const fs::path& page,
                 const std::vector<std::string>& images) {
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
  for (const std::string& image : images) plan["reads"].push_back(image);
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
    for (const auto& path : plan.at(list)) {
      line(list, path.is_array() ? format("{} images", path.size()) : path.get<std::string>());
    }
    if (plan.at(list).empty()) line(list, "nothing");
  }
  if (plan.contains("layers")) {
    for (const auto& layer : plan.at("layers")) line("layer", layer.get<std::string>());
  }
  if (plan.contains("points")) line("points", count_text(plan.at("points")));
  if (plan.contains("sentences"))
    line(plan.at("unit").get<std::string>().c_str(),
         (plan.value("data_estimated", false) ? "about " : "") + count_text(plan.at("sentences")));
  if (plan.contains("memory_bytes")) {
    const auto seconds = plan.find("seconds");
    line("needs",
         (seconds == plan.end() ? "" : "about " + duration_text(*seconds) + " and ") + memory_text(plan));
  }
  if (plan.contains("disk_bytes")) line("disk", bytes_text(plan.at("disk_bytes")));
  return text;
}

}  // namespace d2dmoe::stages
