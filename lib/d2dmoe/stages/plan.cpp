#include "d2dmoe/stages/plan.h"

#include <algorithm>
#include <cmath>

#include "d2dmoe/cluster/split.h"
#include "d2dmoe/core/error.h"
#include "d2dmoe/core/format.h"
#include "d2dmoe/core/progress.h"
#include "d2dmoe/stages/common.h"
#include "d2dmoe/stages/model_size.h"

namespace d2dmoe::stages {
namespace {

using Json = nlohmann::ordered_json;

constexpr double kTrainFactor = 3;  // a training step is the forward pass and about twice that again

Json training(const config::TrainOptions& options, const ModelSize& size, const data::Splits& data,
              double rate, bool teacher) {
  const auto sentences = static_cast<double>(data.train.size());
  const auto tokens = static_cast<double>(data.train.tokens());
  const double steps_per_epoch =
      std::ceil(sentences / static_cast<double>(options.batch_size * options.accumulate));
  const double steps = options.max_steps > 0 ? static_cast<double>(options.max_steps)
                                             : std::ceil(steps_per_epoch * options.epochs);
  const double flops =
      tokens * (steps / steps_per_epoch) * 2 * size.matrix_elements * (kTrainFactor + (teacher ? 1 : 0));
  const double tokens_per_batch = tokens / sentences * static_cast<double>(options.batch_size);
  // Weights, gradients and two Adam moments; activations: per token and layer about 14 rows of the model
  // width and 3 of the hidden width, in float32.
  const double activations =
      4 * tokens_per_batch * static_cast<double>(size.layers) *
      (14.0 * static_cast<double>(size.hidden_size) + 3.0 * static_cast<double>(size.ffn_size));
  return {{"sentences", sentences},
          {"tokens_per_epoch", tokens},
          {"steps", steps},
          {"memory_bytes", size.parameters * 4 * (4 + (teacher ? 1 : 0)) + activations},
          {"seconds", flops / (rate * kModelEfficiency)}};
}

Json conversion(const config::ConvertOptions& options, const ModelSize& size, const data::Splits& data,
                double rate) {
  Json sites = Json::array();
  for (int64_t layer = 0; layer < size.layers; ++layer) {
    const std::string name = "layers." + std::to_string(layer) + ".ffn";
    const bool chosen = options.layers.empty() || std::find(options.layers.begin(), options.layers.end(),
                                                            layer) != options.layers.end();
    if (!chosen) continue;
    const int64_t experts = cluster::experts_of(options.split, name, size.ffn_size);
    sites.push_back({{"site", name}, {"experts", experts}, {"expert_size", size.ffn_size / experts}});
  }
  double tokens = static_cast<double>(data.train.tokens());
  if (options.router.max_tokens > 0)
    tokens = std::min(tokens, static_cast<double>(options.router.max_tokens));
  const double experts = sites.empty() ? 0 : sites[0].at("experts").get<double>();
  const double router =
      static_cast<double>(options.router.width) * (static_cast<double>(size.hidden_size) + experts);
  const double flops = tokens * (2 * size.matrix_elements + options.router.epochs * kTrainFactor * 2 *
                                                                router * static_cast<double>(sites.size()));
  const double cache =
      tokens * static_cast<double>(sites.size()) * 4 * (static_cast<double>(size.hidden_size) + experts);
  return {{"sites", sites},
          {"router_tokens", tokens},
          {"memory_bytes", size.parameters * 4 + cache},
          {"seconds", flops / (rate * kModelEfficiency)}};
}

Json sweeping(const config::SweepOptions& options, const ModelSize& size, const data::Splits& data,
              double rate) {
  const double points = 2 + static_cast<double>(options.taus.empty() ? options.points : options.taus.size());
  const auto& split = options.split == "test"    ? data.test
                      : options.split == "train" ? data.train
                                                 : data.validation;
  const double flops = points * static_cast<double>(split.tokens()) * 2 * size.matrix_elements;
  return {{"points", points},
          {"sentences", split.size()},
          {"memory_bytes", size.parameters * 4 * 2},
          {"seconds", flops / (rate * kModelEfficiency) +
                          points * options.time_seconds * static_cast<double>(options.time_batches.size())}};
}

}  // namespace

Json plan(const config::LoadedExperiment& experiment, const std::vector<std::string>& stages) {
  const auto model_folder = start_folder(experiment, "auto", {});
  Inputs inputs = open_inputs(experiment, model_folder, {"train", "validation", "test"});
  const ModelSize size = model_size(inputs.folder);
  const double rate = measured_flops();
  const auto& options = experiment.options;

  Json result = {{"model", model_folder.string()}, {"family", inputs.folder.config().value("model_type", "")},
                 {"parameters", size.parameters},  {"labels", inputs.data.label_names},
                 {"measured_gflops", rate / 1e9},  {"stages", Json::object()}};
  for (const std::string& stage : stages) {
    Json& entry = result["stages"][stage];
    if (stage == "train") entry = training(options.train, size, inputs.data, rate, false);
    if (stage == "train_sparse") {
      entry = training(options.train_sparse.train, size, inputs.data, rate,
                       !options.train_sparse.distill.teacher.empty());
    }
    if (stage == "convert") entry = conversion(options.convert, size, inputs.data, rate);
    if (stage == "sweep_tau") entry = sweeping(options.sweep_tau, size, inputs.data, rate);
    entry["folder"] = stage_dir(experiment, stage).string();
  }
  return result;
}

std::string plan_text(const Json& plan) {
  std::string text =
      format("model        {} ({}), {} parameters\nmachine      {:.0f} GFLOP/s float32 matrix product\n",
             plan.at("model").get<std::string>(), plan.at("family").get<std::string>(),
             count_text(plan.at("parameters")), plan.at("measured_gflops").get<double>());
  for (const auto& [stage, entry] : plan.at("stages").items()) {
    text += format("{:<13}about {} and {} of memory, into {}", stage, duration_text(entry.at("seconds")),
                   bytes_text(entry.at("memory_bytes")), entry.at("folder").get<std::string>());
    if (entry.contains("steps")) text += format("; {} steps", entry.at("steps").get<int64_t>());
    if (entry.contains("sites")) text += format("; {} sites", entry.at("sites").size());
    text += "\n";
  }
  return text;
}

}  // namespace d2dmoe::stages
