#include "d2dmoe/stages/evaluate.h"

#include <cmath>

#include "d2dmoe/core/device.h"
#include "d2dmoe/core/error.h"
#include "d2dmoe/eval/cost_ledger.h"
#include "d2dmoe/eval/metrics.h"
#include "d2dmoe/moe/converted_folder.h"
#include "d2dmoe/stages/common.h"
#include "d2dmoe/stages/selection_request.h"
#include "d2dmoe/stages/subject.h"

namespace d2dmoe::stages {

namespace fs = std::filesystem;
using Json = nlohmann::ordered_json;

void check_split_name(const std::string& split) {
  D2D_CHECK_USAGE(split == "train" || split == "validation" || split == "test",
                  "[eval] '--split {}': must be train, validation or test", split);
}

Json evaluate(const config::LoadedExperiment& experiment, const EvalRequest& request) {
  const fs::path folder = subject_folder(experiment, request.model, "eval");
  check_split_name(request.split);
  Inputs inputs = open_inputs(experiment, folder, {request.split});
  const data::Dataset& dataset = inputs.data.split(request.split);
  const torch::Device device = parse_device(experiment.options.run.device);
  models::LoadOptions load;
  load.regression = inputs.data.task == data::Task::regression;
  auto model = moe::load_any(inputs.folder, load);
  check_classes(folder, *model, inputs.data);
  model->to(device);

  const auto selection = requested_selection(request.rule, request.value, request.floor, *model);
  eval::CostLedger ledger(*model, selection ? &*selection : nullptr);
  eval::EvaluateOptions options;
  options.batch_size = experiment.options.sweep_tau.batch_size;
  options.device = device;
  options.selection = selection ? &*selection : nullptr;
  options.observers = {&ledger};
  options.on_batch = [&](const data::Batch& batch) { ledger.on_batch(batch); };
  options.progress = "evaluate";
  const auto predictions = eval::evaluate(*model, dataset, options);

  Json metrics = Json::object();
  for (const std::string& name : eval::metrics_of(dataset.task())) {
    const double value = eval::metric(name, predictions);
    D2D_CHECK(
        name != "loss" || std::isfinite(value),
        "[eval] '{}': its loss is {}. Hint: the model's weights hold NaN or infinity, or its activations "
        "overflow",
        folder, value);
    metrics[name] = {{"value", value}};
    const int64_t resamples = experiment.options.sweep_tau.bootstrap;
    if (resamples == 0) continue;
    const auto interval =
        eval::bootstrap(name, predictions, resamples, static_cast<uint64_t>(experiment.options.run.seed));
    metrics[name]["interval"] = {interval.low, interval.high};
  }
  const eval::Cost cost = ledger.result();
  return {{"model", folder.string()},
          {"split", request.split},
          {"unit", dataset.unit()},
          {"sentences", dataset.size()},
          {"metrics", metrics},
          {"seconds", predictions.seconds},
          {"sentences_per_second", static_cast<double>(dataset.size()) / predictions.seconds},
          {"cost", cost.to_json()},
          {"cost_table", cost.table()}};
}

std::string evaluation_text(const Json& result) {
  std::string text =
      format("model      {}\nsplit      {}, {} {}, {:.1f} a second\n", result.at("model").get<std::string>(),
             result.at("split").get<std::string>(), result.at("sentences").get<int64_t>(),
             result.at("unit").get<std::string>(), result.at("sentences_per_second").get<double>());
  for (const auto& [name, entry] : result.at("metrics").items()) {
    text += format("{:<10} {:.4f}", name, entry.at("value").get<double>());
    if (entry.contains("interval")) {
      text += format("  (95 %: {:.4f} to {:.4f})", entry.at("interval")[0].get<double>(),
                     entry.at("interval")[1].get<double>());
    }
    text += "\n";
  }
  return text + "\n" + result.at("cost_table").get<std::string>();
}

}  // namespace d2dmoe::stages
