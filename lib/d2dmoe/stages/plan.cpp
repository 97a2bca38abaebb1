#include "d2dmoe/stages/plan.h"

#include <algorithm>
#include <functional>
#include <map>
#include <numeric>

#include "d2dmoe/cluster/split.h"
#include "d2dmoe/core/device.h"
#include "d2dmoe/core/error.h"
#include "d2dmoe/core/format.h"
#include "d2dmoe/core/progress.h"
#include "d2dmoe/moe/conversion.h"
#include "d2dmoe/moe/router_data.h"
#include "d2dmoe/stages/common.h"
#include "d2dmoe/stages/model_size.h"
#include "d2dmoe/stages/plan_checks.h"
#include "d2dmoe/stages/site_splits.h"
#include "d2dmoe/stages/stage_states.h"
#include "d2dmoe/train/plan.h"
#include "d2dmoe/train/precision.h"
#include "d2dmoe/train/projection_distillation.h"

namespace d2dmoe::stages {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::ordered_json;

constexpr double kTrainFactor = 3;  // a training step is the forward pass and about twice that again

/// Where the stages run, measured when it is asked for.
class Machine {
 public:
  explicit Machine(torch::Device device) : device_(device) {}

  torch::Device device() const { return device_; }
  /// @param dtype  of the matrix products
  double seconds(double flops, torch::ScalarType dtype) { return flops / (rate(dtype) * kModelEfficiency); }
  /// GFLOP/s by dtype.
  Json rates() const {
    Json rates = Json::object();
    for (const auto& [dtype, rate] : rates_) rates[dtype_name(dtype)] = rate / 1e9;
    return rates;
  }

 private:
  double rate(torch::ScalarType dtype) {
    auto& rate = rates_[dtype];
    if (rate == 0) rate = measured_flops(dtype, device_);
    return rate;
  }

  torch::Device device_;
  std::map<torch::ScalarType, double> rates_;
};

/// What the stages' entries are made from.
struct PlannedModel {
  std::shared_ptr<models::Model> model;  // an outline
  ModelSize size;
  const data::Splits& data;
  Machine& machine;

  double seconds(double flops, torch::ScalarType dtype) const { return machine.seconds(flops, dtype); }
};

/// The largest batch that a data set gives.
struct LargestBatch {
  int64_t examples = 0, longest = 0;
  double tokens = 0;
};

LargestBatch largest_batch(const data::Dataset& dataset, int64_t batch_size) {
  std::vector<int64_t> lengths(static_cast<size_t>(dataset.size()));
  for (size_t i = 0; i < lengths.size(); ++i) lengths[i] = dataset.length(static_cast<int64_t>(i));
  const int64_t examples = std::min(batch_size, dataset.size());
  const auto end = lengths.begin() + examples;
  std::partial_sort(lengths.begin(), end, lengths.end(), std::greater<>());
  return {examples, examples > 0 ? lengths.front() : 0,
          static_cast<double>(std::accumulate(lengths.begin(), end, int64_t{0}))};
}

Json training(const config::TrainOptions& options, const PlannedModel& subject, bool relu, bool teacher) {
  const auto& train = subject.data.train;
  const int64_t steps = train::total_steps(options, train.size());
  const double epochs =
      static_cast<double>(steps) / static_cast<double>(train::steps_per_epoch(options, train.size()));
  const double flops = subject.size.flops(train) * epochs * (kTrainFactor + (teacher ? 1 : 0));
  const auto batch = largest_batch(train, options.batch_size);
  // Weights, gradients and two Adam moments.
  const double states = subject.size.weight_bytes() * (4 + (teacher ? 1 : 0));
  const double kept =
      batch.tokens * subject.size.training_bytes_per_token(relu) +
      subject.size.score_bytes(batch.examples, batch.longest, options.dropout, subject.machine.device());
  const auto dtype = train::training_dtype(options.dtype, subject.machine.device());
  return {{"unit", train.unit()},
          {"sentences", train.size()},
          {"tokens_per_epoch", train.tokens()},
          {"steps", steps},
          {"dtype", dtype_name(dtype)},
          {"memory_bytes", whole(states + kept)},
          {"forward_bytes", whole(teacher ? batch.tokens * subject.size.forward_bytes_per_token() : 0)},
          {"seconds", subject.seconds(flops, dtype)}};
}

/// The model that a stage will start from, without values.
std::shared_ptr<models::Model> future_model(const config::LoadedExperiment& experiment, const Origin& origin,
                                            const io::HfFolder& folder, const models::LoadOptions& head) {
  auto model = outline_of(folder, head);
  if (!origin.stages.count("train_sparse")) return model;
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

Json conversion(const config::ConvertOptions& options, const PlannedModel& subject) {
  const auto& train = subject.data.train;
  Json sites = Json::array();
  double router = 0, cached = 0;  // per token: multiply-accumulates, elements
  const auto chosen = moe::chosen_sites(*subject.model, options);
  for (const auto* site : chosen) {
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
  const auto calibration = largest_batch(train, kCalibrationBatch);
  const bool gradients = cluster::split_needs(options.split.name).importance;
  const double calibration_bytes =
      calibration.tokens * (gradients ? subject.size.training_bytes_per_token(subject.size.has_relu())
                                      : subject.size.observed_bytes_per_token());
  const double collection_bytes =
      std::min<double>(moe::kRouterBatchTokens, all) * subject.size.observed_bytes_per_token();
  const auto dtype = train::training_dtype("auto", subject.machine.device());
  return {{"unit", train.unit()},
          {"sites", sites},
          {"router_tokens", whole(tokens)},
          {"dtype", dtype_name(dtype)},
          {"memory_bytes", whole(subject.size.weight_bytes() + tokens * 4 * cached)},
          {"forward_bytes", whole(std::max(calibration_bytes, collection_bytes))},
          {"seconds", subject.seconds(flops, dtype)}};
}

/// Adds the training of perceptrons for attention projections.
/// @param dtype  of the stage
void add_attention(Json& entry, const config::AttentionOptions& options, torch::ScalarType dtype,
                   const PlannedModel& subject) {
  double perceptrons = 0;  // elements
  for (auto* projection : train::chosen_projections(*subject.model, options.projections))
    perceptrons += options.width_factor * static_cast<double>(projection->in() * projection->out());
  if (perceptrons == 0) return;
  const auto& train = subject.data.train;
  const double flops = options.epochs * (subject.size.flops(train) + static_cast<double>(train.tokens()) * 2 *
                                                                         kTrainFactor * perceptrons);
  entry["seconds"] = entry.at("seconds").get<double>() + subject.seconds(flops, dtype);
}

Json sweeping(const config::SweepOptions& options, const PlannedModel& subject) {
  const double points = 2 + static_cast<double>(options.taus.empty() ? options.points : options.taus.size());
  const auto& split = subject.data.split(options.split);
  int64_t batch_size = options.batch_size;
  for (const int64_t timed : options.time_batches) batch_size = std::max(batch_size, timed);
  constexpr auto kDtype = torch::kFloat32;  // of the weights; nothing is cast
  return {{"unit", split.unit()},
          {"points", whole(points)},
          {"sentences", split.size()},
          {"dtype", dtype_name(kDtype)},
          {"memory_bytes", whole(subject.size.weight_bytes() * 2)},
          {"forward_bytes",
           whole(largest_batch(split, batch_size).tokens * subject.size.observed_bytes_per_token())},
          {"seconds", subject.seconds(points * subject.size.flops(split), kDtype) +
                          points * options.time_seconds * static_cast<double>(options.time_batches.size())}};
}

/// A folder without weights will do when a stage trains them, in this plan or before it.
io::Weights weights_for(const config::LoadedExperiment& experiment, std::vector<std::string> stages) {
  stages.insert(stages.end(), experiment.stages.begin(), experiment.stages.end());
  const bool trained = std::any_of(stages.begin(), stages.end(), [](const std::string& stage) {
    return weights_needed(stage) == io::Weights::optional;
  });
  return trained ? io::Weights::optional : io::Weights::required;
}

/// Adds what the folder says to what the stage would do.
void add_state(Json& entry, const Json& state) {
  entry.update(state);
  if (state.at("state") == "done") entry["seconds"] = 0.0;
  if (!state.contains("step") || !entry.contains("steps")) return;
  const double left = 1 - state.at("step").get<double>() / std::max(1.0, entry.at("steps").get<double>());
  entry["seconds"] = entry.at("seconds").get<double>() * std::clamp(left, 0.0, 1.0);
}

/// "6 sites of 64 experts of 24", by shape.
std::string sites_text(const Json& sites) {
  std::map<std::pair<int64_t, int64_t>, int64_t> shapes;
  for (const auto& site : sites)
    ++shapes[{site.at("experts").get<int64_t>(), site.at("expert_size").get<int64_t>()}];
  std::vector<std::string> texts;
  for (const auto& [shape, count] : shapes)
    texts.push_back(format("{} sites of {} experts of {}", count, shape.first, shape.second));
  return join(texts, ", ");
}

std::string state_text(const Json& entry) {
  const auto state = entry.at("state").get<std::string>();
  if (state == "waits") return "; has begun before: its config is compared when the stage before it is done";
  if (state != "interrupted") return "";
  return entry.contains("step") ? format("; goes on at step {}", entry.at("step").get<int64_t>())
                                : "; goes on where it stopped";
}

}  // namespace

Json plan(const config::LoadedExperiment& experiment, const std::vector<std::string>& stages) {
  const auto model_folder = start_folder(experiment, "auto", {});
  Machine machine(parse_device(experiment.options.run.device));
  const auto states = states_of(experiment, stages);
  const auto still_runs = [&](const std::string& stage) {
    const auto found = states.find(stage);
    return found != states.end() && found->second.at("state") != "done" &&
           found->second.at("state") != "refused";
  };
  std::vector<std::string> splits = {"train", "validation"};
  const bool sweeps = std::find(stages.begin(), stages.end(), "sweep_tau") != stages.end();
  if (sweeps && experiment.options.sweep_tau.split == "test") splits.emplace_back("test");
  Inputs inputs =
      open_inputs(experiment, model_folder, splits, weights_for(experiment, stages), data::TextNeed::size);
  for (const char* stage : {"train_sparse", "train_routed"})
    if (still_runs(stage)) check_teacher(experiment, stage, inputs, stages);
  const auto head = head_options(inputs.data);
  const auto model = outline_of(inputs.folder, head);
  const PlannedModel start{model, ModelSize(*model), inputs.data, machine};
  const auto& train = inputs.data.train;
  const auto& options = experiment.options;

  Json planned = Json::object();
  for (const std::string& stage : stages) {
    Json& entry = planned[stage];
    const Origin origin = origin_of(experiment, stage);
    if (!fs::exists(origin.folder / "config.json")) {  // the stage is done, or its state says what is missing
      entry = {{"memory_bytes", 0}, {"forward_bytes", 0}, {"seconds", 0.0}};
      add_state(entry, states.at(stage));
      entry["folder"] = stage_dir(experiment, stage).string();
      continue;
    }
    const auto outline =
        future_model(experiment, origin, io::HfFolder(origin.folder, io::Weights::optional), head);
    const PlannedModel subject{outline, ModelSize(*outline), inputs.data, machine};
    if (stage == "train") entry = training(options.train, subject, subject.size.has_relu(), false);
    if (stage == "train_sparse") {
      const auto& sparse = options.train_sparse;
      if (still_runs(stage)) check_target_sparsity(sparse, subject.size.has_relu());
      entry = training(sparse.train, subject, sparse.activation == "relu" || subject.size.has_relu(),
                       !sparse.distill.teacher.empty());
      add_attention(entry, sparse.attention, train::training_dtype(sparse.train.dtype, machine.device()),
                    subject);
    }
    if (stage == "convert") {
      if (still_runs(stage))
        check_split_options(moe::chosen_sites(*outline, options.convert), options.convert);
      entry = conversion(options.convert, subject);
    }
    if (stage == "train_routed") {
      const auto& routed = options.train_routed;
      const bool relu = subject.size.has_relu() ||
                        (origin.stages.count("train_sparse") && options.train_sparse.activation == "relu");
      if (still_runs(stage)) check_routed_values(experiment, *outline);
      entry = training(routed.train, subject, relu, !routed.distill.teacher.empty());
    }
    if (stage == "sweep_tau") {
      if (still_runs(stage)) {
        check_sweep_values(experiment, *outline);
        check_dense(experiment, *outline, inputs.data, stages);
      }
      entry = sweeping(options.sweep_tau, subject);
    }
    add_state(entry, states.at(stage));
    entry["folder"] = stage_dir(experiment, stage).string();
  }
  const int64_t program = machine.device().is_cpu() ? whole(resident_bytes()) : 0;
  for (auto& entry : planned) {
    entry["peak_bytes"] =
        program + entry.at("memory_bytes").get<int64_t>() + entry.at("forward_bytes").get<int64_t>();
  }
  return {{"model", model_folder.string()},
          {"family", model->family()},
          {"parameters", whole(start.size.parameters())},
          {"has_weights", inputs.folder.has_weights()},
          {"labels", inputs.data.label_names},
          {"unit", train.unit()},
          {"flops_per_example", start.size.flops(train) / std::max(1.0, static_cast<double>(train.size()))},
          {"tokens_per_example",
           static_cast<double>(train.tokens()) / std::max(1.0, static_cast<double>(train.size()))},
          {"device", machine.device().str()},
          {"measured_gflops", machine.rates()},
          {"program_bytes", program},
          {"training_examples", train.size()},
          {"data_estimated", inputs.data.estimated},
          {"stages", planned}};
}

std::string plan_text(const Json& plan) {
  const bool estimated = plan.at("data_estimated").get<bool>();
  const char* about = estimated ? "about " : "";
  const double program = plan.at("program_bytes").get<double>();
  std::vector<std::string> rates;
  for (const auto& [dtype, rate] : plan.at("measured_gflops").items())
    rates.push_back(format("{:.0f} GFLOP/s {}", rate.get<double>(), dtype));
  const auto model = plan.at("model").get<std::string>();
  std::string text = format("model        {} ({}), {} parameters\n", model,
                            plan.at("family").get<std::string>(), count_text(plan.at("parameters")));
  const auto& planned = plan.at("stages");
  const bool begins_with_training = weights_needed(planned.begin().key()) == io::Weights::optional;
  if (!plan.at("has_weights").get<bool>() && begins_with_training && planned.front().at("state") != "done") {
    text += format(
        "weights      none in {} yet: a start trains fresh ones; pretrained ones need model.safetensors "
        "there (or shards and their model.safetensors.index.json)\n",
        model);
  }
  text +=
      format("cost         {}FLOP for one of the {} ({:.0f} tokens); 1 multiply-accumulate = 2 FLOP\n",
             count_text(plan.at("flops_per_example")), plan.at("unit").get<std::string>(),
             plan.at("tokens_per_example").get<double>()) +
      format("data         {}{} training {}, {} tokens{}\n", about, count_text(plan.at("training_examples")),
             plan.at("unit").get<std::string>(),
             count_text(plan.at("tokens_per_example").get<double>() *
                        plan.at("training_examples").get<double>()),
             estimated ? ", by a sample of the text" : "") +
      format("machine      {}: {} matrix products\n", plan.at("device").get<std::string>(),
             join(rates, ", ")) +
      format(
          "memory       {}weights, gradients, Adam's moments, what the longest batch keeps, routers' rows\n",
          program > 0 ? format("the program itself ({}), ", bytes_text(program)) : "");
  for (const auto& [stage, entry] : plan.at("stages").items()) {
    const auto folder = entry.at("folder").get<std::string>();
    if (entry.at("state") == "done") {
      text += format("{:<13}already done, see {}\n", stage, folder);
      continue;
    }
    if (entry.at("state") == "refused") {
      text += format("{:<13}would be refused: {}\n", stage, entry.at("refusal").get<std::string>());
      continue;
    }
    text += format("{:<13}about {} and {} of memory, into {}", stage, duration_text(entry.at("seconds")),
                   bytes_text(entry.at("peak_bytes")), folder);
    if (entry.contains("steps")) text += format("; {}{} steps", about, entry.at("steps").get<int64_t>());
    if (entry.contains("sites")) text += "; " + sites_text(entry.at("sites"));
    text += state_text(entry) + "\n";
  }
  return text;
}

void check_plan(const Json& plan) {
  for (const auto& entry : plan.at("stages")) {
    if (entry.contains("refusal")) throw UsageError(entry.at("refusal").get<std::string>());
  }
}

}  // namespace d2dmoe::stages
