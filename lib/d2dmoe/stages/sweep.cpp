#include "d2dmoe/eval/sweep.h"

#include "d2dmoe/core/device.h"
#include "d2dmoe/core/error.h"
#include "d2dmoe/core/log.h"
#include "d2dmoe/core/signals.h"
#include "d2dmoe/eval/calibration.h"
#include "d2dmoe/eval/conversion_check.h"
#include "d2dmoe/eval/metrics.h"
#include "d2dmoe/eval/placement.h"
#include "d2dmoe/io/atomic_file.h"
#include "d2dmoe/io/json_file.h"
#include "d2dmoe/io/run_folder.h"
#include "d2dmoe/moe/converted_folder.h"
#include "d2dmoe/report/curve.h"
#include "d2dmoe/stages/common.h"
#include "d2dmoe/stages/companions.h"
#include "d2dmoe/stages/points_file.h"
#include "d2dmoe/stages/selection_request.h"
#include "d2dmoe/stages/stages.h"

namespace d2dmoe::stages {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::ordered_json;

/// What is measured, on what, against what.
struct Task {
  const config::SweepOptions& options;
  fs::path converted;
  std::shared_ptr<models::Model> routed, dense;
  const data::Dataset& measured;
  const data::Dataset& validation;
  std::string metric;
  uint64_t seed;
  torch::Device device;
};

/// The values of the points; placed ones are kept in points_plan.json, so that a resumed sweep has the same.
std::vector<double> planned_values(const Task& task, const fs::path& dir) {
  const auto& options = task.options;
  if (!options.taus.empty()) return options.taus;
  if (options.rule == "all") return {0};
  const auto file = dir / "points_plan.json";
  if (fs::exists(file)) return io::read_json_file(file).at("values").get<std::vector<double>>();
  constexpr int64_t kTokens = 4096;
  const eval::ScoreSample sample(*task.routed, task.validation.empty() ? task.measured : task.validation,
                                 moe::Selection{options.rule}.oracle(), kTokens, task.seed, task.device);
  const auto values = eval::place_points(sample, options.rule, options.floor, options.points);
  io::write_file(file,
                 Json{{"rule", options.rule}, {"floor", options.floor}, {"values", values}}.dump(2) + "\n");
  return values;
}

/// Chooses per-site values on validation data and saves them into the converted folder.
/// @return  {"budget", "max_drop", "rule", "validation", "per_site_rules", "per_site_values",
///          "per_site_floors"}
Json calibrated_setting(const Task& task, const fs::path& dir) {
  const auto file = dir / "calibration.json";
  if (fs::exists(file)) return io::read_json_file(file);
  const auto& options = task.options;
  if (options.split == "validation") {
    log::warn("sweep_tau.split is validation: the calibrated point is measured on the data it was chosen on");
  }
  eval::EvaluateOptions evaluation;
  evaluation.batch_size = options.batch_size;
  evaluation.device = task.device;
  evaluation.progress = "dense baseline on validation data";
  const auto dense = eval::evaluate(*task.dense, task.validation, evaluation);

  eval::CalibrationOptions calibration;
  calibration.rule = options.rule;
  calibration.floors = options.floors.empty() ? std::vector<double>{options.floor} : options.floors;
  calibration.budget = options.budget;
  calibration.max_drop = options.max_drop;
  calibration.confidence = options.max_drop_confidence;
  calibration.metric = task.metric;
  calibration.dense_score = eval::metric(task.metric, dense);
  calibration.dense = &dense;
  calibration.batch_size = options.batch_size;
  calibration.seed = task.seed;
  calibration.device = task.device;
  const auto chosen = eval::calibrate(*task.routed, task.validation, calibration);

  Json result = {{"rule", options.rule},
                 {"budget", options.budget ? Json(*options.budget) : Json()},
                 {"max_drop", options.max_drop ? Json(*options.max_drop) : Json()},
                 {"validation",
                  {{"score", chosen.score},
                   {"dense_score", calibration.dense_score},
                   {"drop_points", chosen.drop},
                   {"margin_points", chosen.margin},
                   {"flops_share", chosen.flops_share}}},
                 {"per_site_rules", Json::object()},
                 {"per_site_values", Json::object()},
                 {"per_site_floors", Json::object()}};
  for (const auto& site : eval::converted_sites(*task.routed)) {
    const auto& selection = chosen.setting.at(site.id.name);
    result["per_site_rules"][site.id.name] = selection.rule;
    result["per_site_values"][site.id.name] = selection.value;
    result["per_site_floors"][site.id.name] = selection.floor;
  }
  moe::save_selections(task.converted, chosen.setting);
  io::write_file(file, result.dump(2) + "\n");
  return result;
}

eval::Setting setting_of(const Json& calibrated) {
  eval::Setting setting;
  for (const auto& [site, value] : calibrated.at("per_site_values").items()) {
    setting[site] = {calibrated.at("per_site_rules").at(site).get<std::string>(), value.get<double>(),
                     calibrated.at("per_site_floors").at(site).get<double>()};
  }
  return setting;
}

void stop_if_requested() {
  if (stop_requested()) {
    throw Interrupted("[sweep-tau] stopped: finished points are kept, the same command goes on");
  }
}

Json measured_points(const Task& task, const eval::Sweep& sweep, const std::vector<double>& values,
                     const fs::path& dir) {
  PointsFile file(dir / "points.jsonl");
  Json points = Json::array();
  for (const double value : values) {
    const moe::Selection selection{task.options.rule, value, task.options.floor};
    if (const auto* done = file.find(selection)) {
      points.push_back(*done);
      continue;
    }
    stop_if_requested();
    Json point = {{"rule", selection.rule}, {"value", selection.value}, {"floor", selection.floor}};
    point.update(sweep.measure(eval::uniform_setting(*task.routed, selection)));
    stop_if_requested();  // its timing was cut short
    file.append(point);
    log::info("{}", eval::point_line(point));
    points.push_back(std::move(point));
  }
  return points;
}

Json measure_all(const Task& task, const fs::path& dir) {
  for (const double value : task.options.taus)
    check_selection_of_sites("[config] 'sweep_tau.taus'", *task.routed,
                             {task.options.rule, value, task.options.floor});
  const eval::Sweep sweep(
      {*task.routed, *task.dense, task.measured, task.metric, task.options, task.seed, task.device});
  Json dense = {{"label", "dense baseline"}};
  dense.update(sweep.dense());
  log::info("{}", eval::point_line(dense));

  Json all = {{"label", "converted, all on"}, {"rule", "all"}, {"value", 0}, {"floor", 0}};
  all.update(sweep.measure(eval::uniform_setting(*task.routed, moe::kEveryExpert), /*timed=*/false));
  log::info("{}", eval::point_line(all));

  Json calibrated, not_calibrated;
  if (task.options.budget || task.options.max_drop) {
    try {
      calibrated = calibrated_setting(task, dir);
      calibrated["label"] = "calibrated";
      calibrated.update(sweep.measure(setting_of(calibrated)));
      log::info("{}", eval::point_line(calibrated));
    } catch (const eval::OutOfReach& error) {  // the curve shows what there is
      not_calibrated = error.what();
      log::warn("nothing is calibrated: {}", error.what());
    }
  }

  const auto values = planned_values(task, dir);
  const Json points = measured_points(task, sweep, values, dir);

  dense["time"] = Json::array();
  if (!points.empty()) {
    for (const auto& t : points.front().at("time")) {
      dense["time"].push_back({{"batch", t.at("batch")}, {"ratio", 1.0}, {"dense_ms", t.at("dense_ms")}});
    }
  }
  return {{"metric", task.metric},
          {"split", task.options.split},
          {"dense", dense},
          {"all_experts", all},
          {"points", points},
          {"calibrated", calibrated},
          {"not_calibrated", not_calibrated}};
}

/// What stands below the table of points: the all-experts point and the calibrated one.
std::string remarks(const Json& result) {
  std::string text;
  for (const char* key : {"all_experts", "calibrated"}) {
    const auto& point = result.at(key);
    if (!point.is_object()) continue;
    text += format("\n{}\n", eval::point_line(point));
    if (!point.contains("per_site_values")) continue;
    for (const auto& [site, value] : point.at("per_site_values").items()) {
      text += format("- {}: {} {:.4g}, floor {:g}\n", site,
                     point.at("per_site_rules").at(site).get<std::string>(), value.get<double>(),
                     point.at("per_site_floors").at(site).get<double>());
    }
  }
  if (const auto& why = result.at("not_calibrated"); why.is_string())
    text += format("\nNot calibrated: {}\n", why.get<std::string>());
  return text;
}

}  // namespace

Json sweep_tau(const config::LoadedExperiment& experiment) {
  const auto& options = experiment.options.sweep_tau;
  const auto& data_options = experiment.options.data;
  const fs::path converted = stage_start(experiment, "sweep_tau");
  D2D_CHECK_USAGE(
      options.split != "test" || !data_options.test.empty(),
      "[sweep-tau] 'data.test': got nothing, must be the file to measure on. Hint: --set data.test=FILE, "
      "or --set sweep_tau.split=validation");
  io::RunFolder run(stage_dir(experiment, "sweep_tau"), stage_config(experiment, "sweep_tau"));
  if (run.done()) {
    log::info("sweep_tau: already done, see '{}'", run.dir());
    return run.result();
  }
  const RunLog run_log(run);
  // Calibration writes into the converted folder: a stage's own lock stands beside its model.
  std::optional<io::FolderLock> converted_lock;
  if (options.budget || options.max_drop) {
    const fs::path stage = fs::weakly_canonical(converted).parent_path();
    converted_lock.emplace(fs::exists(stage / ".lock") ? stage : converted);
  }
  std::vector<std::string> splits{options.split};
  if (options.split != "validation") splits.emplace_back("validation");
  const auto inputs = open_inputs(experiment, converted, splits);
  const auto device = parse_device(experiment.options.run.device);

  models::LoadOptions load;
  load.regression = inputs.data.task == data::Task::regression;
  const fs::path dense_dir = dense_folder(experiment);
  const io::HfFolder dense_files(dense_dir);
  // A converted folder read as a dense one runs its own weights without routers.
  Task task{options,
            converted,
            moe::load_any(inputs.folder, load),
            models::load_model(dense_files, load),
            inputs.data.split(options.split),
            inputs.data.validation,
            metric_of(experiment, inputs.data.task),
            static_cast<uint64_t>(experiment.options.run.seed),
            device};
  D2D_CHECK_USAGE(!task.measured.empty(), "[sweep-tau] 'data.{}': holds no examples", options.split);
  check_classes(converted, *task.routed, inputs.data);
  check_same_inputs(dense_dir, *task.dense, *task.routed);
  D2D_CHECK_USAGE(
      task.dense->num_labels() == task.routed->num_labels() &&
          task.dense->label_names() == task.routed->label_names(),
      "[sweep-tau] '{}': its {} labels are not the converted model's {}. Hint: both must be trained on the "
      "same data",
      dense_dir, task.dense->num_labels(), task.routed->num_labels());
  task.routed->to(device);
  task.dense->to(device);
  eval::check_conversion(*task.routed, task.measured, device);
  log::info("dense baseline: {}", dense_dir);

  Json result = measure_all(task, run.dir());
  result["dense"]["folder"] = dense_dir.string();
  result["converted"] = converted.string();
  report::write_curve(run.dir(), result["dense"], result["points"],
                      {result["all_experts"], result["calibrated"]});
  io::write_file(run.dir() / "table.md", io::read_file(run.dir() / "table.md") + remarks(result));
  run.mark_done(result);
  return result;
}

}  // namespace d2dmoe::stages
