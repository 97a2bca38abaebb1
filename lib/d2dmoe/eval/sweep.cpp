#include "d2dmoe/eval/sweep.h"

#include "d2dmoe/config/metric_units.h"
#include "d2dmoe/core/format.h"
#include "d2dmoe/eval/decode_timing.h"
#include "d2dmoe/eval/metrics.h"
#include "d2dmoe/eval/timing.h"
#include "d2dmoe/moe/selection_rules.h"

namespace d2dmoe::eval {
namespace {

using Json = nlohmann::ordered_json;

Json interval_json(const Interval& interval) {
  return Json::array({interval.low, interval.high});
}

/// Nothing was resampled: there is no interval, and no saying what is noise.
void drop_intervals_without_resamples(Json& point, int64_t resamples) {
  if (resamples > 0) return;
  for (const char* key : {"interval", "difference_interval", "within_noise"}) point.erase(key);
}

std::string label_of(const Json& point) {
  if (point.contains("label")) return point.at("label").get<std::string>();
  const auto rule = point.at("rule").get<std::string>();
  const auto* entry = moe::rules::find(rule);
  if (entry == nullptr) return rule;  // "all" has no value
  auto text = format("{} {:<6.4g}", entry->symbol, point.at("value").get<double>());
  if (point.at("floor").get<double>() > 0) text += format(" floor {:g}", point.at("floor").get<double>());
  return text;
}

}  // namespace

Sweep::Sweep(const Setup& setup) : setup_(setup) {
  Cost cost;
  dense_predictions_ = run(setup_.dense, "dense baseline", cost);
  const auto interval = bootstrap(setup_.metric, dense_predictions_, setup_.options.bootstrap, setup_.seed);
  const auto json = cost.to_json();
  dense_ = {{"metric", setup_.metric},
            {"score", metric(setup_.metric, dense_predictions_)},
            {"interval", interval_json(interval)},
            {"loss", dense_predictions_.loss},
            {"sentences", cost.sequences},
            {"tokens", cost.tokens},
            {"padded_tokens", cost.padded_tokens},
            {"flops_per_token", cost.flops_per_token},
            {"apart_per_token", cost.apart_per_token},
            {"flops_share", cost.flops_share},
            {"weight_bytes", cost.weight_bytes},
            {"sentences_per_second", static_cast<double>(cost.sequences) / dense_predictions_.seconds},
            {"convention", json.at("convention")},
            {"parts", json.at("parts")}};
  drop_intervals_without_resamples(dense_, setup_.options.bootstrap);
}

Predictions Sweep::run(models::Model& model, const std::string& progress, Cost& cost) const {
  CostLedger ledger(model);
  EvaluateOptions options;
  options.batch_size = setup_.options.batch_size;
  options.device = setup_.device;
  options.observers = {&ledger};
  options.on_batch = [&](const data::Batch& batch) { ledger.on_batch(batch); };
  options.progress = progress;
  auto predictions = evaluate(model, setup_.data, options);
  cost = ledger.result();
  return predictions;
}

Json Sweep::measure(const Setting& setting, bool timed) const {
  const ScopedSetting scope(setup_.routed, setting);
  Cost cost;
  const auto predictions = run(setup_.routed, "evaluate point", cost);
  const double score = metric(setup_.metric, predictions);
  const auto interval = bootstrap(setup_.metric, predictions, setup_.options.bootstrap, setup_.seed);
  const auto difference = bootstrap_difference(setup_.metric, predictions, dense_predictions_,
                                               setup_.options.bootstrap, setup_.seed);
  Json point = {{"metric", setup_.metric},
                {"score", score},
                {"interval", interval_json(interval)},
                {"loss", predictions.loss},
                {"difference", score - dense_.at("score").get<double>()},
                {"difference_interval", interval_json(difference)},
                {"within_noise", difference.contains(0)},
                {"executed_share", cost.executed_share},
                {"executed_share_per_site", Json::object()},
                {"run_share", cost.run_share},
                {"flops_share", cost.flops_share},
                {"flops_share_run", cost.flops_share_run},
                {"flops_share_padded", cost.flops_share_padded},
                {"flops_per_token", cost.flops_per_token},
                {"cls8", cost.cls8},
                {"weight_bytes_share", cost.weight_bytes_share},
                {"weight_bytes_share_single", cost.weight_bytes_share_single},
                {"weight_bytes_share_token", cost.weight_bytes_share_token},
                {"empty_rows_share", cost.empty_rows_share},
                {"time", Json::array()},
                {"expert_use", Json::object()}};
  drop_intervals_without_resamples(point, setup_.options.bootstrap);
  for (const auto& site : cost.sites) {
    point["executed_share_per_site"][site.name] = site.executed_share;
    point["expert_use"][site.name] = site.expert_use;
  }
  if (timed && !setup_.options.time_batches.empty()) {
    TimingOptions timing;
    timing.batch_sizes = setup_.options.time_batches;
    timing.seconds = setup_.options.time_seconds;
    timing.runs = setup_.options.time_runs;
    timing.seed = setup_.seed;
    timing.device = setup_.device;
    for (const auto& t : compare_times(setup_.dense, setup_.routed, setup_.data, timing)) {
      point["time"].push_back(t.to_json());
    }
  }
  if (timed && setup_.options.decode_tokens > 0 && setup_.data.task() == data::Task::language_modeling &&
      !setup_.options.time_batches.empty()) {
    DecodeTimingOptions decoding;
    decoding.tokens = setup_.options.decode_tokens;
    decoding.device = setup_.device;
    point["decode"] = compare_decoding(setup_.dense, setup_.routed, setup_.data, decoding).to_json();
  }
  return point;
}

std::string point_line(const Json& point) {
  const auto name = point.at("metric").get<std::string>();
  auto text = format("{:<18} {} {}", label_of(point), name,
                     config::metric_text(name, point.at("score").get<double>()));
  if (const auto interval = point.find("interval"); interval != point.end()) {
    const auto bound = [&](int i) { return config::metric_text(name, interval->at(i).get<double>(), false); };
    text += format(" [{}, {}]{}", bound(0), bound(1),
                   point.value("within_noise", false) ? ", within noise of dense" : "");
  }
  text += format("  experts {:.1f} %  FLOPs {:.1f} %", 100 * point.value("executed_share", 1.0),
                 100 * point.value("flops_share", 1.0));
  if (!point.contains("time") || point.at("time").empty()) return text;
  text += "  time";
  for (const auto& t : point.at("time")) {
    text += format("  x{:.2f} at {}", t.at("ratio").get<double>(), t.at("batch").get<int64_t>());
  }
  if (const auto decode = point.find("decode"); decode != point.end()) {
    text += format("  decode x{:.2f} (weights read x{:.2f})", decode->at("ratio").get<double>(),
                   point.value("weight_bytes_share_token", 1.0));
  }
  return text;
}

}  // namespace d2dmoe::eval
