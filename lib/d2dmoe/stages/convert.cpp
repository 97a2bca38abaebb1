#include <torch/types.h>

#include <algorithm>
#include <chrono>

#include "d2dmoe/core/device.h"
#include "d2dmoe/core/error.h"
#include "d2dmoe/core/log.h"
#include "d2dmoe/core/progress.h"
#include "d2dmoe/core/random.h"
#include "d2dmoe/eval/conversion_check.h"
#include "d2dmoe/io/atomic_file.h"
#include "d2dmoe/moe/conversion.h"
#include "d2dmoe/moe/converted_folder.h"
#include "d2dmoe/moe/router_training.h"
#include "d2dmoe/stages/common.h"
#include "d2dmoe/stages/router_regret.h"
#include "d2dmoe/stages/site_splits.h"
#include "d2dmoe/stages/stages.h"
#include "d2dmoe/train/precision.h"

namespace d2dmoe::stages {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::ordered_json;

// What sites execute until sweep-tau has calibrated them.
const moe::Selection kFirstSelection{"dynamic_k", 0.1, 0};

/// Seconds since it was made, or since the last look.
class Clock {
 public:
  double lap() {
    const auto now = std::chrono::steady_clock::now();
    const double seconds = std::chrono::duration<double>(now - last_).count();
    last_ = now;
    return seconds;
  }

 private:
  std::chrono::steady_clock::time_point last_ = std::chrono::steady_clock::now();
};

/// A model while it is converted.
struct Conversion {
  const config::ConvertOptions& options;
  const data::Splits& data;
  io::RunFolder& run;
  std::string metric;
  uint64_t seed;
  torch::Device device;
  std::shared_ptr<models::Model> model;
  std::vector<nn::Site*> sites;
  ExpertSplits splits;
  Json seconds = Json::object();
};

void split(Conversion& c) {
  Clock clock;
  const fs::path file = c.run.dir() / "splits.safetensors";
  c.splits = load_splits(file);
  if (c.splits.size() != c.sites.size()) {
    c.splits = split_sites(*c.model, c.sites, c.data, c.options, c.seed, c.device);
    save_splits(file, c.splits);
  }
  c.seconds["split"] = clock.lap();
}

/// A few sentences through the dense model and through the converted one with every expert on.
void place_experts(Conversion& c) {
  const auto batch = eval::conversion_batch(c.data.train, c.device);
  torch::Tensor dense;
  {
    const torch::NoGradGuard no_grad;
    nn::ForwardContext ctx(batch);
    dense = c.model->forward(batch, ctx);
  }
  for (auto* site : c.sites) {
    moe::convert_site(*site, c.splits.at(site->id().name), c.options.split.name,
                      moe::router_of(c.options, site->id().kind),
                      derive_seed(c.seed, "router", static_cast<uint64_t>(site->id().index)));
  }
  const auto difference = eval::conversion_error(*c.model, batch, dense);
  const double error = difference.worst() / std::max(1e-6, difference.scale);
  D2D_CHECK(error <= eval::conversion_tolerance(*c.model),  // false for NaN
            "[convert]: with every expert on, the logits are off by {:.2g} of the largest, must be float "
            "error. Hint: this is a defect of d2dmoe, please report it with the model's config.json",
            error);
  log::info("convert: {} sites, every expert on equals the dense model to {:.1e}", c.sites.size(), error);
}

std::vector<moe::RouterResult> train_routers(Conversion& c) {
  Clock clock;
  const auto& options = c.options.router;
  const auto dtype = train::training_dtype("auto", c.device);
  moe::RouterDataOptions collect;
  collect.validation_share = options.validation_share;
  collect.max_tokens = options.max_tokens;
  collect.seed = c.seed;
  collect.device = c.device;
  collect.spill_dir = c.run.dir();
  const auto data = [&] {
    const train::AutocastScope autocast(c.device, dtype);
    return moe::collect_router_data(*c.model, c.sites, c.data.train, collect);
  }();
  log::info("convert: {} training and {} validation tokens for the routers{}", data.train.rows(),
            data.validation.rows(), data.train.in_memory() ? "" : ", kept in a file");
  c.seconds["hidden_states"] = clock.lap();
  const auto results = moe::train_routers({.sites = c.sites,
                                           .data = data,
                                           .options = options,
                                           .run = c.run,
                                           .checkpoint_every = c.options.checkpoint_every,
                                           .seed = c.seed,
                                           .dtype = dtype});
  c.seconds["routers"] = clock.lap();
  for (size_t i = 0; i < c.sites.size(); ++i) {
    auto* layer = moe::as_experts(*c.sites[i]);
    layer->set_mean_norm(results[i].mean_norm);
    layer->selection() = kFirstSelection;
  }
  return results;
}

Json site_report(const Conversion& c, nn::Site& site, const moe::RouterResult& result) {
  const auto* layer = moe::as_experts(site);
  Json captured = Json::array();
  for (const auto& mass : result.quality.captured) {
    captured.push_back({{"executed", mass.executed}, {"router", mass.router}, {"oracle", mass.oracle}});
  }
  return {{"site", site.id().name},
          {"experts", layer->experts()},
          {"expert_size", layer->expert_size()},
          {"shared", layer->shared()},
          {"split", c.options.split.name},
          {"objective", c.splits.at(site.id().name).objective},
          {"router",
           {{"width", layer->router()->width()},
            {"depth", layer->router()->depth()},
            {"best_epoch", result.best_epoch},
            {"mse", result.quality.mse},
            {"mse_of_mean", result.quality.mse_of_mean},
            {"captured_norm_mass", std::move(captured)}}},
          {"mean_norm", result.mean_norm},
          {"expert_use", result.quality.expert_use}};
}

/// Judges the routers and tells of it.
Json quality_report(Conversion& c, const std::vector<moe::RouterResult>& results) {
  Clock clock;
  Json report = {{"sites", Json::array()}, {"regret", Json::array()}, {"metric", c.metric}};
  log::info(
      "routers on held-out tokens: squared error against predicting the mean{}, norm mass captured (oracle) "
      "at 5 % "
      "and 10 % executed",
      c.options.router.loss == "mse" ? "" : " (which they were not trained for: above 1 is no fault)");
  for (size_t i = 0; i < c.sites.size(); ++i) {
    report["sites"].push_back(site_report(c, *c.sites[i], results[i]));
    const auto& quality = results[i].quality;
    std::string line = format("  {}: {:.3f}", results[i].site,
                              quality.mse_of_mean > 0 ? quality.mse / quality.mse_of_mean : 0.0);
    for (const auto& mass : quality.captured) {
      if (mass.executed != 0.05 && mass.executed != 0.1) continue;
      line += format(", {:.1f} % ({:.1f} %)", 100 * mass.router, 100 * mass.oracle);
    }
    log::info("{}", line);
  }
  const auto& held_out = c.data.validation.empty() ? c.data.train : c.data.validation;
  for (const auto& r : router_regret(*c.model, held_out, c.metric, c.seed, c.device)) {
    report["regret"].push_back(
        {{"executed", r.executed}, {"router_metric", r.router_metric}, {"oracle_metric", r.oracle_metric}});
    log::info("  {:.0f} % executed: {} {:.4f} with routers, {:.4f} with the true norms", 100 * r.executed,
              c.metric, r.router_metric, r.oracle_metric);
  }
  c.seconds["quality"] = clock.lap();
  report["seconds"] = c.seconds;
  return report;
}

void save(Conversion& c, const io::HfFolder& start) {
  c.model->to(torch::kCPU);
  const Json parent = {{"path", start.dir().string()}, {"weights_sha256", start.weights_hash()}};
  io::write_folder(c.run.model_dir(), [&](const fs::path& dir) {
    moe::save_converted(*c.model, dir, parent);
    io::copy_tokenizer_files(start.dir(), dir);
  });
}

}  // namespace

Json convert(const config::LoadedExperiment& experiment) {
  const auto& options = experiment.options.convert;
  const fs::path start = stage_start(experiment, "convert");
  io::RunFolder run(stage_dir(experiment, "convert"), stage_config(experiment, "convert"));
  if (finished_with_model(run)) {
    log::info("convert: already done, see '{}'", run.dir());
    return run.result();
  }
  const RunLog log_file(run);
  set_threads(static_cast<int>(experiment.options.run.threads));
  D2D_CHECK_USAGE(
      !moe::is_converted(start),
      "[convert] '{}': is a mixture of experts already. Hint: start from the dense folder that it was made "
      "from, or from `d2dmoe export`",
      start);
  Clock clock;
  Inputs inputs = open_inputs(experiment, start, {"train", "validation"});
  Conversion c{.options = options,
               .data = inputs.data,
               .run = run,
               .metric = metric_of(experiment, inputs.data.task),
               .seed = static_cast<uint64_t>(experiment.options.run.seed),
               .device = parse_device(experiment.options.run.device),
               .model = models::load_model(inputs.folder),
               .sites = {},
               .splits = {}};
  check_classes(start, *c.model, inputs.data);
  c.sites = moe::chosen_sites(*c.model, options);
  check_split_options(c.sites, options);
  log::info("convert: from '{}', {} of {} sites", start, c.sites.size(), c.model->sites().size());
  c.model->to(c.device);
  c.model->eval();
  train::keep_freed_memory();  // batches of thousands of tokens

  split(c);
  place_experts(c);
  const auto results = train_routers(c);
  Json report = quality_report(c, results);
  save(c, inputs.folder);
  report["seconds"]["total"] = clock.lap();
  io::write_file(run.dir() / "convert.json", report.dump(2) + "\n");
  const Json result = {{"stage", "convert"},
                       {"start", start.string()},
                       {"start_weights_sha256", inputs.folder.weights_hash()},
                       {"sites", c.sites.size()},
                       {"split", options.split.name},
                       {"regret", report["regret"]},
                       {"metric", c.metric},
                       {"seconds", report["seconds"]["total"]}};
  run.mark_done(result);
  std::error_code ignored;
  fs::remove_all(run.dir() / "checkpoints", ignored);
  return result;
}

}  // namespace d2dmoe::stages
