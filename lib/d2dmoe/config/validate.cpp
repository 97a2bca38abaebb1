#include "d2dmoe/config/validate.h"

#include <algorithm>
#include <cmath>

#include "d2dmoe/config/names.h"
#include "d2dmoe/core/format.h"

namespace d2dmoe::config {
namespace {

using Found = std::optional<Problem>;
using Path = std::vector<std::string>;

Path operator+(Path path, const std::string& key) {
  path.push_back(key);
  return path;
}

/// A value that stands in the list more than once.
template <class T>
std::optional<T> doubled(std::vector<T> values) {
  std::sort(values.begin(), values.end());
  const auto twice = std::adjacent_find(values.begin(), values.end());
  return twice == values.end() ? std::nullopt : std::optional<T>(*twice);
}

Found check_run(const RunOptions& run) {
  if (run.output_dir.empty()) return Problem{{"output_dir"}, "is empty, must be a folder"};
  const std::string& text = run.device;
  const bool numbered = text.starts_with("cuda:") && text.size() > 5 && text.size() < 9 &&
                        text.find_first_not_of("0123456789", 5) == text.npos;
  if (text == "auto" || text == "cpu" || text == "cuda" || numbered) return {};
  return Problem{{"device"}, format("is \"{}\", must be auto, cpu, cuda or cuda:N", text)};
}

Found check_data(const DataOptions& data) {
  if (data.separator.size() > 1) {
    return Problem{{"data", "separator"}, format("is \"{}\", must be one ASCII character", data.separator)};
  }
  if (data.separator == "\n" || data.separator == "\r" || (data.quoting && data.separator == "\"")) {
    return Problem{{"data", "separator"}, "must not be a line break or the quote"};
  }
  if (data.task == "classification" && data.label_names.size() == 1) {
    return Problem{
        {"data", "label_names"},
        format("has one name, \"{}\", must have at least two, or none to take the data's. Hint: for "
               "numbers as targets set data.task to regression",
               data.label_names.front())};
  }
  for (const auto& [key, range] :
       {std::pair("crop_scale", &data.images.crop_scale), {"crop_ratio", &data.images.crop_ratio}}) {
    if (range->size() == 2 && range->at(0) > range->at(1)) {
      return Problem{{"data", "images", key},
                     format("is [{}, {}], must be [smallest, largest]", range->at(0), range->at(1))};
    }
  }
  if (const auto name = doubled(data.label_names)) {
    return Problem{{"data", "label_names"}, format("names \"{}\" twice", *name)};
  }
  return {};
}

Found check_metric(const DataOptions& data, const TrainOptions& train, const Path& path) {
  const auto fitting = std::find_if(kTaskMetrics.begin(), kTaskMetrics.end(),
                                    [&](const TaskMetrics& entry) { return entry.task == data.task; });
  const auto& metrics = fitting->metrics;
  if (train.metric == "auto" || std::find(metrics.begin(), metrics.end(), train.metric) != metrics.end())
    return {};
  return Problem{path + "metric", format("is \"{}\", which does not fit data.task \"{}\". Hint: use {}",
                                         train.metric, data.task, join(metrics, ", "))};
}

Found check_train(const TrainOptions& train, const Path& path) {
  if (train.patience > 0 && train.eval_every == 0) {
    return Problem{path + "patience", "needs validations between epochs: eval_every must be above 0"};
  }
  return {};
}

Found check_distill(const DistillOptions& distill, const Path& path) {
  if (distill.features > 0 && distill.teacher.empty())
    return Problem{path + "features", "needs a teacher. Hint: set teacher to \"dense\", the start model"};
  return {};
}

Found check_penalty(const PenaltyOptions& penalty, const Path& path) {
  const bool steered = penalty.schedule == "auto";
  if (penalty.target_sparsity && penalty.max_metric_drop) {
    return Problem{path + "max_metric_drop", "and target_sparsity are both set: steer by one of them"};
  }
  const bool has_goal = penalty.target_sparsity || penalty.max_metric_drop;
  if (steered && !has_goal) {
    return Problem{path + "schedule", "is \"auto\", which needs target_sparsity or max_metric_drop"};
  }
  if (!steered && has_goal) {
    return Problem{path + (penalty.target_sparsity ? "target_sparsity" : "max_metric_drop"),
                   format("needs schedule \"auto\", which is \"{}\"", penalty.schedule)};
  }
  if (steered && penalty.name == "none")
    return Problem{path + "schedule", "is \"auto\", but the penalty is \"none\""};
  if (steered && penalty.alpha == 0)
    return Problem{path + "alpha", "is 0, must be above 0 for schedule \"auto\""};
  return {};
}

Found check_attention(const AttentionOptions& attention, const Path& path) {
  if (const auto projection = doubled(attention.projections)) {
    return Problem{path + "projections", format("names \"{}\" twice", *projection)};
  }
  return {};
}

Found check_convert(const ConvertOptions& convert) {
  if (const auto layer = doubled(convert.layers)) {
    return Problem{{"convert", "layers"}, format("names layer {} twice", *layer)};
  }
  if (const auto kind = doubled(convert.kinds)) {
    return Problem{{"convert", "kinds"}, format("names \"{}\" twice", *kind)};
  }
  return {};
}

/// A value that the rule cannot have.
Found check_values(const std::vector<double>& values, const std::string& rule, const Path& path) {
  const bool counts = rule.ends_with("top_k");
  for (const double value : values) {
    const bool right = counts ? value >= 1 && value == std::floor(value) : value <= 1;
    if (right) continue;
    return Problem{path, format("holds {}, must hold {} for rule \"{}\"", value,
                                counts ? "whole numbers of experts from 1" : "numbers from 0 to 1", rule)};
  }
  return {};
}

Found check_routed(const RoutedTrainOptions& routed) {
  const Path path = {"train_routed"};
  const auto& range = routed.tau_range;
  if (!range.empty() && (range.size() != 2 || range[0] > range[1])) {
    return Problem{path + "tau_range", "must be [smallest, largest], or empty for every site's own setting"};
  }
  if (auto problem = check_values(range, routed.rule, path + "tau_range")) return problem;
  // A share of 0 of the scores' sum is reached without any expert.
  const auto runs_none = [&](double p) { return routed.rule == "cumulative" && p == 0; };
  constexpr const char* kRunsNone = "is 0, with which \"cumulative\" runs no expert; must be above 0";
  if (!range.empty() && runs_none(range[1])) return Problem{path + "tau_range", kRunsNone};
  if (!routed.validation_tau) return {};
  if (range.empty()) {
    return Problem{path + "validation_tau",
                   "is set, but tau_range is empty: every site validates at its own setting"};
  }
  if (runs_none(*routed.validation_tau)) return Problem{path + "validation_tau", kRunsNone};
  return check_values({*routed.validation_tau}, routed.rule, path + "validation_tau");
}

Found check_sweep(const SweepOptions& sweep) {
  if (auto problem = check_values(sweep.taus, sweep.rule, {"sweep_tau", "taus"})) return problem;
  if (sweep.rule == "all" && (sweep.budget || sweep.max_drop)) {
    return Problem{
        {"sweep_tau", "rule"},
        format("is \"all\", which has no value to calibrate for {}. Hint: use dynamic_k, or take {} out",
               sweep.budget ? "budget" : "max_drop", sweep.budget ? "budget" : "max_drop")};
  }
  if (sweep.rule.starts_with("oracle_") && (sweep.budget || sweep.max_drop)) {
    const char* key = sweep.budget ? "budget" : "max_drop";
    return Problem{
        {"sweep_tau", key},
        format("calibrates what the converted folder runs, and \"{}\" needs every expert's norm: for "
               "an oracle's curve set {} to null",
               sweep.rule, key)};
  }
  if (sweep.budget && sweep.max_drop) {
    return Problem{{"sweep_tau", "max_drop"}, "and budget are both set: calibrate for one of them"};
  }
  return {};
}

}  // namespace

std::optional<Problem> find_problem(const Experiment& experiment, const std::set<std::string>& stages) {
  const Path sparse = {"train_sparse"};
  if (auto problem = check_run(experiment.run)) return problem;
  if (auto problem = check_data(experiment.data)) return problem;
  if (auto problem = check_train(experiment.train, {"train"})) return problem;
  if (auto problem = check_train(experiment.train_sparse.train, sparse + "train")) return problem;
  if (auto problem = check_penalty(experiment.train_sparse.penalty, sparse + "penalty")) return problem;
  if (auto problem = check_distill(experiment.train_sparse.distill, sparse + "distill")) return problem;
  if (auto problem = check_attention(experiment.train_sparse.attention, sparse + "attention")) return problem;
  if (auto problem = check_convert(experiment.convert)) return problem;
  const Path routed = {"train_routed"};
  if (auto problem = check_train(experiment.train_routed.train, routed + "train")) return problem;
  if (auto problem = check_distill(experiment.train_routed.distill, routed + "distill")) return problem;
  if (auto problem = check_routed(experiment.train_routed)) return problem;
  if (auto problem = check_sweep(experiment.sweep_tau)) return problem;
  // The default metric need not fit the data of a stage that is not run.
  if (stages.contains("train")) {
    if (auto problem = check_metric(experiment.data, experiment.train, {"train"})) return problem;
  }
  if (stages.contains("train_sparse")) {
    if (auto problem = check_metric(experiment.data, experiment.train_sparse.train, sparse + "train"))
      return problem;
  }
  if (stages.contains("train_routed"))
    return check_metric(experiment.data, experiment.train_routed.train, routed + "train");
  return {};
}

}  // namespace d2dmoe::config
