#include "d2dmoe/stages/attention.h"

#include <torch/types.h>

#include <chrono>

#include "d2dmoe/core/error.h"
#include "d2dmoe/core/log.h"
#include "d2dmoe/core/seconds_since.h"
#include "d2dmoe/eval/evaluate.h"
#include "d2dmoe/eval/metrics.h"
#include "d2dmoe/io/safetensors.h"
#include "d2dmoe/train/precision.h"
#include "d2dmoe/train/projection_distillation.h"

namespace d2dmoe::stages {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::ordered_json;

constexpr const char* kFile = "perceptrons.safetensors";
constexpr const char* kFields[] = {".w1", ".b1", ".w2t", ".b2"};

std::array<torch::Tensor, 4> fields_of(const nn::FeedForward& perceptron) {
  const auto w = perceptron.weights();
  return {w.w1, w.b1, w.w2t, w.b2};
}

void save(const fs::path& file, const std::vector<train::DistilledProjection>& distilled) {
  std::map<std::string, torch::Tensor> tensors;
  for (const auto& entry : distilled) {
    const auto values = fields_of(*entry.perceptron);
    for (size_t i = 0; i < values.size(); ++i)
      tensors[entry.projection->id().name + kFields[i]] = values[i].detach();
  }
  io::write_safetensors(file, tensors);
}

/// Puts perceptrons with the file's weights in their places.
void place(models::Model& model, const fs::path& file, const std::vector<nn::Projection*>& projections,
           kernels::Activation activation, torch::Device device) {
  const torch::NoGradGuard no_grad;
  const auto stored = io::SafetensorsFile::open(file);
  for (auto* projection : projections) {
    const auto& name = projection->id().name;
    auto perceptron = std::make_shared<nn::DenseFeedForward>(
        nn::DenseFeedForward::Options{.d_in = projection->in(),
                                      .hidden = stored->tensor(name + ".w1").size(0),
                                      .d_out = projection->out(),
                                      .activation = activation,
                                      .initialise = false});
    const auto values = fields_of(*perceptron);
    for (size_t i = 0; i < values.size(); ++i)
      torch::Tensor(values[i]).copy_(stored->tensor(name + kFields[i]));
    perceptron->to(device);
    model.replace_projection(*projection, std::move(perceptron));
  }
}

/// Value of the metric and loss on the validation data.
Json measured(models::Model& model, const data::Splits& data, const std::string& metric, int64_t batch_size,
              torch::Device device, const std::string& what) {
  if (data.validation.empty()) return {};
  eval::EvaluateOptions options;
  options.batch_size = batch_size;
  options.device = device;
  options.progress = what;
  const auto predictions = eval::evaluate(model, data.validation, options);
  return {{"value", eval::metric(metric, predictions)}, {"loss", predictions.loss}};
}

Json projections_json(const std::vector<train::DistilledProjection>& distilled, Json& result) {
  Json list = Json::array();
  double linear = 0, perceptrons = 0;
  for (const auto& entry : distilled) {
    const auto w = entry.perceptron->weights();
    const auto d_in = static_cast<double>(w.d_in()), d_out = static_cast<double>(w.d_out());
    const double cost = static_cast<double>(w.hidden()) * (d_in + d_out);
    linear += d_in * d_out;
    perceptrons += cost;
    list.push_back({{"site", entry.projection->id().name},
                    {"d_in", w.d_in()},
                    {"width", w.hidden()},
                    {"d_out", w.d_out()},
                    {"flops_ratio", cost / (d_in * d_out)},
                    {"unexplained", entry.unexplained},
                    {"zeros", entry.zeros}});
  }
  result["flops_ratio"] = perceptrons / linear;
  return list;
}

void tell(const Json& result) {
  double unexplained = 0;
  for (const auto& entry : result.at("projections")) unexplained += entry.at("unexplained").get<double>();
  const auto count = result.at("projections").size();
  log::info(
      "attention: {} projections are perceptrons with {:.1f} % of their FLOPs; {:.1f} % of their variance is "
      "lost on average",
      count, 100 * result.at("flops_ratio").get<double>(), 100 * unexplained / static_cast<double>(count));
  if (result.at("before").is_null()) return;
  log::info("attention: validation {} {:.4f} with the projections, {:.4f} with perceptrons in their places",
            result.at("metric").get<std::string>(), result.at("before").at("value").get<double>(),
            result.at("after").at("value").get<double>());
}

}  // namespace

Json replace_projections(models::Model& model, const data::Splits& data,
                         const config::LoadedExperiment& experiment, const io::RunFolder& outer,
                         kernels::Activation activation, const Json& key, torch::Device device) {
  const auto start = std::chrono::steady_clock::now();
  const auto& options = experiment.options.train_sparse;
  io::RunFolder run(outer.dir() / "attention", key);
  const auto projections = train::chosen_projections(model, options.attention.projections);
  if (run.done()) {
    place(model, run.dir() / kFile, projections, activation, device);
    return run.result();
  }
  const auto metric = eval::resolve_metric(options.train.metric, data.task);
  Json result = {{"metric", metric}};
  result["before"] =
      measured(model, data, metric, options.train.batch_size, device, "start model, with its projections");
  log::info("attention: {} projections become perceptrons", projections.size());
  const auto distilled =
      train::distill_projections({.model = model,
                                  .data = data,
                                  .options = options.attention,
                                  .displacement = options.penalty.displacement,
                                  .activation = activation,
                                  .run = run,
                                  .seed = static_cast<uint64_t>(experiment.options.run.seed),
                                  .device = device,
                                  .dtype = train::training_dtype(options.train.dtype, device)});
  save(run.dir() / kFile, distilled);
  const Json list = projections_json(distilled, result);
  place(model, run.dir() / kFile, projections, activation, device);
  result["after"] =
      measured(model, data, metric, options.train.batch_size, device, "start model, with perceptrons");
  result["projections"] = list;
  result["seconds"] = seconds_since(start);
  tell(result);
  run.mark_done(result);
  std::error_code ignored;
  fs::remove_all(run.dir() / "checkpoints", ignored);
  return result;
}

}  // namespace d2dmoe::stages
