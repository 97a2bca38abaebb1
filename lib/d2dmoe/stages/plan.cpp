#include "d2dmoe/stages/plan.h"

#include <algorithm>
#include <cmath>

#include "d2dmoe/core/error.h"
#include "d2dmoe/core/format.h"
#include "d2dmoe/core/progress.h"
#include "d2dmoe/moe/conversion.h"
#include "d2dmoe/stages/common.h"
#include "d2dmoe/stages/model_size.h"
#include "d2dmoe/train/projection_distillation.h"

namespace d2dmoe::stages {
namespace {

using Json = nlohmann::ordered_json;

constexpr double kTrainFactor = 3;  // a training step is the forward pass and about twice that again

/// What the stages' entries are made from.
struct Subject {
  std::shared_ptr<models::Model> model;  // an outline
  ModelSize size;
  const data::Splits& data;
  double rate;  // FLOP/s

  double seconds(double flops) const { return flops / (rate * kModelEfficiency); }
};

Json training(const config::TrainOptions& options, const Subject& subject, bool relu, bool teacher) {
  const auto& train = subject.data.train;
  const auto examples = static_cast<double>(train.size()), tokens = static_cast<double>(train.tokens());
  const double steps_per_epoch =
      std::ceil(examples / static_cast<double>(options.batch_size * options.accumulate));
  const double steps = options.max_steps > 0 ? static_cast<double>(options.max_steps)
                                             : std::ceil(steps_per_epoch * options.epochs);
  const double flops =
      subject.size.flops(train) * (steps / steps_per_epoch) * (kTrainFactor + (teacher ? 1 : 0));
  const double batch_tokens = tokens / examples * std::min(examples, static_cast<double>(options.batch_size));
  // Weights, gradients and two Adam moments.
  const double states = subject.size.weight_bytes() * (4 + (teacher ? 1 : 0));
  return {{"unit", train.unit()},
          {"sentences", examples},
          {"tokens_per_epoch", tokens},
          {"steps", steps},
          {"memory_bytes", states + batch_tokens * subject.size.training_bytes_per_token(relu)},
          {"seconds", subject.seconds(flops)}};
}

/// The model as it will be when it is converted, without values.
std::shared_ptr<models::Model> future_model(const config::LoadedExperiment& experiment,
                                            const io::HfFolder& folder, const models::LoadOptions& head) {
  auto model = outline_of(folder, head);
  if (!experiment.stages.count("train_sparse")) return model;
  const auto& options = experiment.options.train_sparse.attention;
  for (auto* projection : train::chosen_projections(*model, options.projections)) {
    const int64_t width = train::perceptron_width(projection->in(), projection->out(), options.width_factor,
                                                  options.multiple_of);
    model->replace_projection(
        *projection,
        std::make_shared<nn::DenseFeedForward>(nn::DenseFeedForward::Options{
            .d_in = projection->in(), .hidden = width, .d_out = projection->out(), .initialise = false}));
  }
  return model;
}

Json conversion(const config::ConvertOptions& options, const Subject& subject) {
  const auto& train = subject.data.train;
  Json sites = Json::array();
  double router = 0, cached = 0;  // per token: multiply-accumulates, elements
  for (const auto* site : moe::chosen_sites(*subject.model, options)) {
    const auto w = site->layer()->weights();
    const int64_t experts = moe::experts_of(options, site->id(), w.hidden());
    sites.push_back({{"site", site->id().name}, {"experts", experts}, {"expert_size", w.hidden() / experts}});
    const auto row = static_cast<double>(w.d_in() + experts);
    router += static_cast<double>(moe::router_of(options, site->id().kind).width) * row;
    cached += row;
  }
  const auto all = static_cast<double>(train.tokens());
  const double tokens =
      options.router.max_tokens > 0 ? std::min(all, static_cast<double>(options.router.max_tokens)) : all;
  const double flops = subject.size.flops(train) * tokens / std::max(1.0, all) +
                       tokens * options.router.epochs * kTrainFactor * 2 * router;
  return {{"unit", train.unit()},
          {"sites", sites},
          {"router_tokens", tokens},
          {"memory_bytes", subject.size.weight_bytes() + tokens * 4 * cached},
          {"seconds", subject.seconds(flops)}};
}

/// Adds the training of perceptrons for attention projections.
void add_attention(Json& entry, const config::AttentionOptions& options, const Subject& subject) {
  double perceptrons = 0;  // elements
  for (auto* projection : train::chosen_projections(*subject.model, options.projections))
    perceptrons += options.width_factor * static_cast<double>(projection->in() * projection->out());
  if (perceptrons == 0) return;
  const auto& train = subject.data.train;
  const double flops = options.epochs * (subject.size.flops(train) + static_cast<double>(train.tokens()) * 2 *
                                                                         kTrainFactor * perceptrons);
  entry["seconds"] = entry.at("seconds").get<double>() + subject.seconds(flops);
}

Json sweeping(const config::SweepOptions& options, const Subject& subject) {
  const double points = 2 + static_cast<double>(options.taus.empty() ? options.points : options.taus.size());
  const auto& split = subject.data.split(options.split);
  return {{"unit", split.unit()},
          {"points", points},
          {"sentences", split.size()},
          {"memory_bytes", subject.size.weight_bytes() * 2},
          {"seconds", subject.seconds(points * subject.size.flops(split)) +
                          points * options.time_seconds * static_cast<double>(options.time_batches.size())}};
}

/// A folder without weights will do when one of the stages trains them.
io::Weights weights_for(const std::vector<std::string>& stages) {
  const bool trained = std::any_of(stages.begin(), stages.end(), [](const std::string& stage) {
    return weights_needed(stage) == io::Weights::optional;
  });
  return trained ? io::Weights::optional : io::Weights::required;
}

}  // namespace

Json plan(const config::LoadedExperiment& experiment, const std::vector<std::string>& stages) {
  const auto model_folder = start_folder(experiment, "auto", {});
  std::vector<std::string> splits = {"train", "validation"};
  const bool sweeps = std::find(stages.begin(), stages.end(), "sweep_tau") != stages.end();
  if (sweeps && experiment.options.sweep_tau.split == "test") splits.emplace_back("test");
  Inputs inputs = open_inputs(experiment, model_folder, splits, weights_for(stages), data::TextNeed::size);
  const auto model = outline_of(inputs.folder, head_options(inputs.data));
  const Subject subject{model, ModelSize(*model), inputs.data, measured_flops()};
  const auto later = future_model(experiment, inputs.folder, head_options(inputs.data));
  const Subject future{later, ModelSize(*later), inputs.data, subject.rate};
  const auto& train = inputs.data.train;
  const auto& options = experiment.options;

  Json result = {
      {"model", model_folder.string()},
      {"family", model->family()},
      {"parameters", subject.size.parameters()},
      {"labels", inputs.data.label_names},
      {"unit", train.unit()},
      {"flops_per_example", subject.size.flops(train) / std::max(1.0, static_cast<double>(train.size()))},
      {"tokens_per_example",
       static_cast<double>(train.tokens()) / std::max(1.0, static_cast<double>(train.size()))},
      {"measured_gflops", subject.rate / 1e9},
      {"training_examples", train.size()},
      {"data_estimated", inputs.data.estimated},
      {"stages", Json::object()}};
  for (const std::string& stage : stages) {
    Json& entry = result["stages"][stage];
    if (stage == "train") entry = training(options.train, subject, subject.size.has_relu(), false);
    if (stage == "train_sparse") {
      const auto& sparse = options.train_sparse;
      entry = training(sparse.train, subject, sparse.activation == "relu" || subject.size.has_relu(),
                       !sparse.distill.teacher.empty());
      add_attention(entry, sparse.attention, subject);
    }
    if (stage == "convert") entry = conversion(options.convert, future);
    if (stage == "sweep_tau") entry = sweeping(options.sweep_tau, future);
    entry["folder"] = stage_dir(experiment, stage).string();
  }
  return result;
}

std::string plan_text(const Json& plan) {
  const bool estimated = plan.at("data_estimated").get<bool>();
  const char* about = estimated ? "about " : "";
  std::string text =
      format("model        {} ({}), {} parameters\n", plan.at("model").get<std::string>(),
             plan.at("family").get<std::string>(), count_text(plan.at("parameters"))) +
      format("cost         {}FLOP for one of the {} ({:.0f} tokens); 1 multiply-accumulate = 2 FLOP\n",
             count_text(plan.at("flops_per_example")), plan.at("unit").get<std::string>(),
             plan.at("tokens_per_example").get<double>()) +
      format("data         {}{} training {}, {} tokens{}\n", about, count_text(plan.at("training_examples")),
             plan.at("unit").get<std::string>(),
             count_text(plan.at("tokens_per_example").get<double>() *
                        plan.at("training_examples").get<double>()),
             estimated ? ", by a sample of the text" : "") +
      format("machine      {:.0f} GFLOP/s float32 matrix product\n",
             plan.at("measured_gflops").get<double>());
  for (const auto& [stage, entry] : plan.at("stages").items()) {
    text += format("{:<13}about {} and {} of memory, into {}", stage, duration_text(entry.at("seconds")),
                   bytes_text(entry.at("memory_bytes")), entry.at("folder").get<std::string>());
    if (entry.contains("steps")) text += format("; {}{} steps", about, entry.at("steps").get<int64_t>());
    if (entry.contains("sites")) text += format("; {} sites", entry.at("sites").size());
    text += "\n";
  }
  return text;
}

}  // namespace d2dmoe::stages
