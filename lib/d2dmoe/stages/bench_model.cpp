#include "d2dmoe/stages/bench_model.h"

#include <algorithm>
#include <map>

#include "d2dmoe/core/device.h"
#include "d2dmoe/core/error.h"
#include "d2dmoe/core/log.h"
#include "d2dmoe/core/random.h"
#include "d2dmoe/core/signals.h"
#include "d2dmoe/data/text_source.h"
#include "d2dmoe/eval/conversion_check.h"
#include "d2dmoe/eval/cost_ledger.h"
#include "d2dmoe/eval/decode_timing.h"
#include "d2dmoe/eval/evaluate.h"
#include "d2dmoe/eval/placement.h"
#include "d2dmoe/eval/timing.h"
#include "d2dmoe/moe/converted_folder.h"
#include "d2dmoe/stages/common.h"
#include "d2dmoe/stages/evaluate.h"
#include "d2dmoe/stages/selection_request.h"

namespace d2dmoe::stages {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::ordered_json;

constexpr int64_t kRandomExamples = 256, kRandomLength = 64;
constexpr int64_t kSampleTokens = 4096;  // for shares, and for the rows of single layers

/// A converted model, the same weights run densely, and what they read.
struct BenchedModel {
  std::shared_ptr<models::Model> routed, dense;
  data::Dataset data;
  std::string data_text;  ///< for people
  uint64_t seed = 0;
  int64_t decode_tokens = 0;  ///< timed one by one, of a language model
  torch::Device device = torch::kCPU;
};

/// Sequences of random ids: times are right, shares are not those of real text.
data::Dataset random_tokens(const models::Model& model, uint64_t seed) {
  Rng rng(derive_seed(seed, "bench tokens"));
  const auto vocab = model.config().value("vocab_size", int64_t{0});
  std::vector<data::Example> examples(static_cast<size_t>(kRandomExamples));
  for (auto& example : examples) {
    const auto length = std::min(kRandomLength, model.max_length());
    for (int64_t i = 0; i < length; ++i)
      example.ids.push_back(static_cast<int64_t>(rng.below(static_cast<uint64_t>(vocab))));
    example.type_ids.assign(example.ids.size(), 0);
  }
  return data::text_dataset(std::move(examples));
}

BenchedModel open_benched_model(const config::LoadedExperiment& experiment, const BenchRequest& request) {
  D2D_CHECK_USAGE(moe::is_converted(request.model),
                  "[bench] '{}': has no d2dmoe.json, must be a converted model folder. Hint: run `d2dmoe "
                  "convert` first",
                  request.model);
  const io::HfFolder folder(request.model);
  models::LoadOptions load;
  load.dtype = parse_dtype(request.dtype);
  BenchedModel subject;
  subject.decode_tokens = experiment.options.sweep_tau.decode_tokens;
  subject.seed = static_cast<uint64_t>(experiment.options.run.seed);
  subject.device = parse_device(experiment.options.run.device);
  const auto& data = experiment.options.data;
  const std::string& file = request.split == "train"        ? data.train
                            : request.split == "validation" ? data.validation
                                                            : data.test;
  check_split_name(request.split);
  const bool named = !file.empty() || (request.split == "validation" && !data.train.empty());
  if (named) {
    const auto inputs = open_inputs(experiment, request.model, {request.split});
    load.regression = inputs.data.task == data::Task::regression;
    subject.data = inputs.data.split(request.split);
    subject.data_text = format("{} ({})", file.empty() ? data.train : file, request.split);
  }
  subject.routed = moe::load_any(folder, load);
  subject.dense = models::load_model(folder, load);
  if (!named) {
    D2D_CHECK_USAGE(
        !subject.routed->image_geometry(),
        "[bench] '{}': reads images, and no data are named. Hint: --config FILE of its experiment, "
        "or --set data.test=FOLDER",
        request.model);
    log::warn(
        "no data are named: the model reads random tokens, whose executed shares are not those of text");
    subject.data = random_tokens(*subject.routed, subject.seed);
    subject.data_text = "random tokens";
  }
  D2D_CHECK_USAGE(!subject.data.empty(), "[bench] 'data.{}': holds no examples", request.split);
  subject.routed->to(subject.device);
  subject.dense->to(subject.device);
  subject.routed->eval();
  subject.dense->eval();
  return subject;
}

/// A setting and what it is called; no selection: the folder's own, which may differ by site.
struct Wanted {
  std::optional<moe::Selection> selection;
  eval::Setting setting;
};

std::vector<Wanted> wanted_settings(BenchedModel& subject, const BenchRequest& request) {
  auto& model = *subject.routed;
  std::vector<double> values = request.values;
  const std::string rule = request.rule.empty() && !values.empty() ? "dynamic_k" : request.rule;
  if (values.empty() && !request.model_shares.empty()) {
    moe::Selection selection{rule.empty() ? "dynamic_k" : rule, 0, request.floor.value_or(0)};
    const eval::ScoreSample sample(model, subject.data, selection.oracle(), kSampleTokens, subject.seed,
                                   subject.device);
    const auto range = eval::value_range(selection.rule, sample.least_routed_experts());
    for (const double share : request.model_shares) {
      values.push_back(eval::value_for_share(
          selection, range, share, [&](const moe::Selection& s) { return sample.executed_share(s); }));
    }
  }
  std::vector<Wanted> wanted;
  for (const double value : values) {
    const auto selection =
        requested_selection(rule.empty() ? "dynamic_k" : rule, value, request.floor.value_or(0), model);
    wanted.push_back({selection, eval::uniform_setting(model, *selection)});
  }
  if (wanted.empty()) {
    const auto selection = requested_selection(request.rule, std::nullopt, request.floor, model);
    wanted.push_back(
        {selection, selection ? eval::uniform_setting(model, *selection) : eval::current_setting(model)});
  }
  return wanted;
}

Json selection_json(const std::optional<moe::Selection>& selection) {
  if (!selection) return {};
  return {{"rule", selection->rule}, {"value", selection->value}, {"floor", selection->floor}};
}

/// Keeps the first rows that each site sees.
class RowCollector : public nn::Observer {
 public:
  explicit RowCollector(int64_t most) : most_(most) {}
  void on_input(const nn::SiteId& site, const torch::Tensor& x) override {
    auto& kept = kept_[site.name];
    if (kept.rows >= most_) return;
    const int64_t count = std::min(x.size(0), most_ - kept.rows);
    kept.parts.push_back(x.narrow(0, 0, count).clone());
    kept.rows += count;
  }
  /// @return  [N, D]; N below the number asked for where the data have no more
  torch::Tensor of(const std::string& site) const { return torch::cat(kept_.at(site).parts); }

 private:
  struct Kept {
    std::vector<torch::Tensor> parts;
    int64_t rows = 0;
  };
  int64_t most_;
  std::map<std::string, Kept> kept_;
};

/// Runs the model on a sample of the data, watched.
eval::Cost run_sample(BenchedModel& subject, RowCollector& rows) {
  constexpr int64_t kBatch = 8;
  eval::CostLedger ledger(*subject.routed);
  int64_t seen = 0;
  for (const auto& chosen : data::epoch_batches(subject.data, kBatch, /*shuffle=*/true, subject.seed, 0)) {
    const auto batch = subject.data.collate(chosen).to(subject.device);
    nn::ForwardContext context(batch);
    context.observers = {&ledger, &rows};
    ledger.on_batch(batch);
    models::run_layers(*subject.routed, batch, context);
    seen += batch.tokens();
    if (seen >= kSampleTokens) break;
  }
  return ledger.result();
}

Json site_facts(const eval::ConvertedSite& site, const BenchRequest& request) {
  const auto w = site.layer->weights();
  bench::LayerShape shape{site.id.name, w.d_in(),       site.layer->experts(), site.layer->expert_size(),
                          w.gated(),    w.b1.defined(), w.activation};
  shape.router_width = site.layer->router()->width();
  return {
      {"name", shape.name},
      {"text", bench::shape_text(shape)},
      {"d_model", shape.d_model},
      {"experts", shape.experts},
      {"expert_size", shape.expert_size},
      {"gated", shape.gated},
      {"activation", kernels::activation_name(shape.activation)},
      {"router_width", shape.router_width},
      {"mask", "router"},
      {"weight_bytes", shape.weights() * static_cast<double>(c10::elementSize(parse_dtype(request.dtype)))}};
}

std::vector<eval::ConvertedSite> chosen_sites(BenchedModel& subject, const BenchRequest& request) {
  auto sites = eval::converted_sites(*subject.routed);
  if (request.sites.empty()) return sites;
  std::vector<std::string> names;
  for (const auto& site : sites) names.push_back(site.id.name);
  std::vector<eval::ConvertedSite> chosen;
  for (const std::string& wanted : request.sites) {
    const auto found = std::find(names.begin(), names.end(), wanted);
    D2D_CHECK_USAGE(found != names.end(),
                    "[bench] '--site {}': the model has no such converted site. Hint: {}", wanted,
                    names.empty() ? "it has none" : "there are " + join(names, ", "));
    chosen.push_back(sites[static_cast<size_t>(found - names.begin())]);
  }
  return chosen;
}

}  // namespace

void bench_model(const config::LoadedExperiment& experiment, const BenchRequest& request,
                 const bench::MachinePeaks& peaks, const BenchSeen& seen, Json& result) {
  BenchedModel subject = open_benched_model(experiment, request);
  eval::check_conversion(*subject.routed, subject.data, subject.device);
  const auto sites = chosen_sites(subject, request);
  std::vector<Json> layers;
  for (const auto& site : sites) {
    layers.push_back(site_facts(site, request));
    layers.back()["points"] = Json::array();
  }
  Json model = {{"folder", request.model}, {"data", subject.data_text}};
  Json points = Json::array();
  for (const auto& wanted : wanted_settings(subject, request)) {
    const eval::ScopedSetting scope(*subject.routed, wanted.setting);
    RowCollector rows(*std::max_element(request.rows.begin(), request.rows.end()));
    const auto cost = run_sample(subject, rows);
    for (size_t i = 0; i < sites.size(); ++i) {
      const auto x = rows.of(sites[i].id.name);
      Json facts = layers[i];
      facts.erase("points");
      // The module itself, kept alive by the model.
      const std::shared_ptr<moe::ExpertFeedForward> layer(subject.routed, sites[i].layer);
      for (const int64_t count : request.rows) {
        if (count > x.size(0)) continue;
        bench::LayerCase layer_case{{layer}, x.narrow(0, 0, count), layer->selection(), request.ordered};
        Json point = bench::time_layer(layer_case, request.budget).to_json(peaks);
        point["selection"] = selection_json(wanted.selection);
        layers[i]["points"].push_back(point);
        if (seen.layer_point) seen.layer_point(facts, point);
      }
    }
    Json point = {{"selection", selection_json(wanted.selection)},
                  {"executed_share", cost.executed_share},
                  {"flops_share", cost.flops_share},
                  {"time", Json::array()}};
    eval::TimingOptions timing{request.batches, request.budget.seconds, request.budget.runs, subject.seed,
                               subject.device};
    for (const auto& t : eval::compare_times(*subject.dense, *subject.routed, subject.data, timing))
      point["time"].push_back(t.to_json());
    if (stop_requested()) throw Interrupted("[bench] stopped");
    if (subject.decode_tokens > 0 && subject.routed->language_model() &&
        subject.data.task() == data::Task::language_modeling) {
      point["decode"] = eval::compare_decoding(*subject.dense, *subject.routed, subject.data,
                                               {.tokens = subject.decode_tokens, .device = subject.device})
                            .to_json();
    }
    points.push_back(point);
    if (seen.model_point) seen.model_point(model, point);
  }
  model["points"] = std::move(points);
  for (auto& layer : layers) result["layers"].push_back(std::move(layer));
  result["model"] = std::move(model);
}

}  // namespace d2dmoe::stages
