#include "d2dmoe/report/sections.h"

#include <algorithm>
#include <cmath>
#include <iterator>

#include "d2dmoe/core/format.h"
#include "d2dmoe/report/curve.h"
#include "d2dmoe/report/html_text.h"
#include "d2dmoe/report/point_table.h"
#include "d2dmoe/report/sweep_points.h"
#include "d2dmoe/report/table.h"
#include "d2dmoe/report/value_text.h"

namespace d2dmoe::report {
namespace {

constexpr size_t kMostPoints = 800;  // of a line over training: more than pixels

std::vector<Curve> curves_of(const Runs& runs) {
  std::vector<Curve> curves;
  for (const RunData& run : runs) {
    const StageData* sweep = run.stage("sweep_tau");
    if (sweep && !sweep->points.empty())
      curves.push_back({run.name, sweep->dense, sweep->points, sweep->marked});
  }
  return curves;
}

bool is_calibrated(const Json& point) {
  return text_of(point, "label") == "calibrated";
}

/// The points of the curve, and the calibrated one where there is one.
Json with_calibrated(const Curve& curve) {
  Json points = curve.points;
  std::copy_if(curve.marked.begin(), curve.marked.end(), std::back_inserter(points), is_calibrated);
  return points;
}

/// The events of one kind, thinned to what a picture can show.
std::vector<const Json*> events_of(const StageData& stage, const std::string& kind) {
  std::vector<const Json*> all, some;
  for (const Json& event : stage.events) {
    if (text_of(event, "event") == kind) all.push_back(&event);
  }
  const size_t stride = std::max<size_t>(1, (all.size() + kMostPoints - 1) / kMostPoints);
  for (size_t i = 0; i < all.size(); i += stride) some.push_back(all[i]);
  if (!all.empty() && some.back() != all.back()) some.push_back(all.back());
  return some;
}

/// A value over the steps; `value_of` may give NaN.
template <class F>
Series over_steps(const std::string& name, size_t color, const std::vector<const Json*>& events,
                  F&& value_of) {
  Series s;
  s.name = name;
  s.color = color;
  s.markers = false;
  for (const Json* event : events) {
    s.x.push_back(number_of(*event, "step"));
    s.y.push_back(value_of(*event));
  }
  return s;
}

bool has_points(const Series& s) {
  for (size_t i = 0; i < s.y.size(); ++i) {
    if (std::isfinite(s.x[i]) && std::isfinite(s.y[i])) return true;
  }
  return false;
}

/// Keeps the series that have something to show.
void add_series(LineChart& chart, Series s) {
  if (has_points(s)) chart.series.push_back(std::move(s));
}

std::string chart_figure(const std::string& name, const LineChart& chart, double height) {
  if (chart.series.empty()) return "";
  height += 21.0 * std::max(0, legend_rows(chart, kPageWidth) - 1);
  return figure(name + ": " + chart.title, kPageWidth, height, [&](Canvas& canvas) {
    draw(canvas, chart, {0, 0, kPageWidth, height});
  });
}

double mean_zeros(const Json& event) {
  double sum = 0;
  size_t count = 0;
  for (const Json& site : member(event, "sites")) {
    const double zeros = number_of(site, "zeros");
    if (!std::isfinite(zeros)) continue;
    sum += zeros;
    ++count;
  }
  return count ? sum / static_cast<double>(count) : NAN;
}

/// Mean over the sites of the router's squared error, as a share of that of predicting the mean.
double unexplained_share(const Json& event) {
  double sum = 0;
  size_t count = 0;
  for (const Json& site : member(event, "sites")) {
    const double share = number_of(site, "mse") / number_of(site, "mse_mean");
    if (!std::isfinite(share)) continue;
    sum += share;
    ++count;
  }
  return count ? sum / static_cast<double>(count) : NAN;
}

double site_value(const Json& event, const std::string& site, const char* key) {
  for (const Json& entry : member(event, "sites")) {
    if (text_of(entry, "site") == site) return number_of(entry, key);
  }
  return NAN;
}

/// Names of the sites in the order of the model.
std::vector<std::string> site_names(const std::vector<const Json*>& events) {
  std::vector<std::string> names;
  for (const Json* event : events) {
    for (const Json& entry : member(*event, "sites")) {
      const std::string name = text_of(entry, "site");
      if (std::find(names.begin(), names.end(), name) == names.end()) names.push_back(name);
    }
  }
  return names;
}

std::string regret_table(const Json& conversion) {
  Table table({{"executed"}, {"metric, routers"}, {"metric, oracle"}, {"regret"}});
  for (const Json& entry : member(conversion, "regret")) {
    const double router = number_of(entry, "router_metric"), oracle = number_of(entry, "oracle_metric");
    table.add_row(
        {percent(number_of(entry, "executed"), 1), plain(router), plain(oracle), plain(oracle - router)});
  }
  return table.empty()
             ? ""
             : paragraph("Metric with the routers' choice and with the true norms, at equal cost:") +
                   table.html();
}

std::string quality_table(const Json& conversion) {
  std::vector<double> shares;  // columns: the executed shares of the first site that lists them
  for (const Json& site : member(conversion, "sites")) {
    for (const Json& mass : member(member(site, "router"), "captured_norm_mass")) {
      const double executed = number_of(mass, "executed");
      if (std::find(shares.begin(), shares.end(), executed) == shares.end() && std::isfinite(executed)) {
        shares.push_back(executed);
      }
    }
  }
  std::sort(shares.begin(), shares.end());
  std::vector<Column> columns = {{"site", false},  {"experts"},    {"size"},
                                 {"split", false}, {"router MSE"}, {"of the mean"}};
  for (const double share : shares) columns.push_back({format("mass at {} (oracle)", percent(share, 0))});
  Table table(columns);
  for (const Json& site : member(conversion, "sites")) {
    const Json& router = member(site, "router");
    std::vector<std::string> row = {text_of(site, "site"),
                                    plain(number_of(site, "experts")),
                                    plain(number_of(site, "expert_size")),
                                    text_of(site, "split", "–"),
                                    plain(number_of(router, "mse")),
                                    plain(number_of(router, "mse_of_mean"))};
    for (const double share : shares) {
      std::string cell = "–";
      for (const Json& mass : member(router, "captured_norm_mass")) {
        if (number_of(mass, "executed") != share) continue;
        cell = percent(number_of(mass, "router"), 1) + " (" + percent(number_of(mass, "oracle"), 1) + ")";
      }
      row.push_back(cell);
    }
    table.add_row(std::move(row));
  }
  if (table.empty()) return "";
  return paragraph(
             "Mean squared error on held-out tokens, beside that of predicting the mean; share of the "
             "experts' norm that the chosen experts hold, beside the oracle's choice of as many.") +
         table.html();
}

}  // namespace

std::string summary_section(const Runs& runs) {
  Table table({{"run", false},
               {"dense"},
               {"cheapest within 1 point, of the curve and calibrated"},
               {"experts"},
               {"FLOPs"},
               {"time", false}});
  for (const Curve& curve : curves_of(runs)) {
    const Json settings = with_calibrated(curve);
    const int64_t index = headline_point(curve.dense, settings);
    const Json point = index < 0 ? Json() : settings[static_cast<size_t>(index)];
    std::string times;
    for (const Json& entry : member(point, "time")) {
      times += format("{}batch {}: {}", times.empty() ? "" : ", ", number_of(entry, "batch"),
                      percent(number_of(entry, "ratio"), 0));
    }
    const std::string metric = metric_of(curve.points);
    const char* mark = is_calibrated(point) ? " (calibrated)" : "";
    table.add_row({curve.name, score_text(number_of(curve.dense, "score"), metric),
                   score_text(number_of(point, "score"), metric) + mark,
                   percent(number_of(point, "executed_share"), 1),
                   percent(number_of(point, "flops_share"), 1), times.empty() ? "–" : times});
  }
  return table.empty() ? "" : section("At a glance", table.html());
}

std::string curve_section(const Runs& runs) {
  const std::vector<Curve> curves = curves_of(runs);
  if (curves.empty()) return "";
  const std::vector<LineChart> charts = curve_charts(curves);
  int rows = 0;
  for (const LineChart& chart : charts) rows = std::max(rows, legend_rows(chart, kPageWidth / 2 - 26));
  const double height = 450 + 21.0 * rows;
  std::string out = figure("Quality and cost", kPageWidth, height, [&](Canvas& canvas) {
    draw_charts(canvas, charts, curve_remark(curves), kPageWidth, height);
  });
  const LineChart time = time_chart(curves);
  if (curves.size() > 1) out += chart_figure("Time", time, 420);
  for (const Curve& curve : curves) {
    out += heading("Points of " + curve.name) + point_table(curve.dense, curve.points, curve.marked).html();
  }
  out += paragraph(point_table_remark());
  return section("Cost and quality", out);
}

std::string sparsity_section(const Runs& runs) {
  std::string out;
  LineChart means;
  means.title = "Zero activations, mean over the sites";
  means.x_title = "step";
  means.y_title = "zeros (%)";
  means.y_unit = Unit::percent;
  means.least_y_span = 0.02;
  for (size_t i = 0; i < runs.size(); ++i) {
    if (const StageData* stage = runs[i].stage("train_sparse")) {
      add_series(means, over_steps(runs[i].name, i, events_of(*stage, "train"), mean_zeros));
    }
  }
  out += chart_figure("All runs", means, 320);
  for (const RunData& run : runs) {
    const StageData* stage = run.stage("train_sparse");
    if (!stage) continue;
    const auto events = events_of(*stage, "train");
    LineChart chart = means;
    chart.title = "Zero activations per site: " + run.name;
    chart.series.clear();
    const std::vector<std::string> names = site_names(events);
    for (size_t i = 0; i < names.size(); ++i) {
      Series s =
          over_steps(names[i], i, events, [&](const Json& e) { return site_value(e, names[i], "zeros"); });
      if (i >= 7) s.dash = {6, 3};  // the palette repeats
      add_series(chart, std::move(s));
    }
    out += chart_figure(run.name, chart, 360);
  }
  return section("Sparsity over training", out);
}

std::string training_section(const Runs& runs) {
  std::string out;
  for (const char* name : {"train", "train_sparse", "train_routed"}) {
    LineChart loss, penalty, metric;
    loss.title = format("Task loss, {}", name);
    loss.y_title = "loss";
    penalty.title = format("Penalty (mean over the sites), {}", name);
    penalty.y_title = "penalty, log scale";
    penalty.y_log = true;
    metric.title = format("Validation metric, {}", name);
    loss.x_title = penalty.x_title = metric.x_title = "step";
    for (size_t i = 0; i < runs.size(); ++i) {
      const StageData* stage = runs[i].stage(name);
      if (!stage) continue;
      const auto steps = events_of(*stage, "train"), validations = events_of(*stage, "eval");
      const auto value = [](const char* key) { return [key](const Json& e) { return number_of(e, key); }; };
      add_series(loss, over_steps(runs[i].name, i, steps, [](const Json& e) {
                   const double task = number_of(e, "task_loss");
                   return std::isfinite(task) ? task : number_of(e, "loss");
                 }));
      add_series(penalty, over_steps(runs[i].name, i, steps, [](const Json& e) {
                   const double p = number_of(e, "penalty");
                   return p > 0 ? p : NAN;
                 }));
      Series held_out = over_steps(runs[i].name, i, validations, value("value"));
      held_out.markers = true;
      add_series(metric, std::move(held_out));
      for (const Json* e : validations) metric.y_title = text_of(*e, "metric", "metric");
    }
    if (metric.y_title != "loss" && !metric.y_title.empty()) {
      metric.y_unit = Unit::percent;
      metric.y_title += " (%)";
      metric.least_y_span = 0.02;
    }
    out += chart_figure("Training", loss, 300) + chart_figure("Training", penalty, 300) +
           chart_figure("Training", metric, 280);
  }
  return section("Training", out);
}

std::string router_section(const Runs& runs) {
  std::string out;
  LineChart loss;
  loss.title = "Router training loss";
  loss.x_title = "step";
  loss.y_title = "MSE, log scale";
  loss.y_log = true;
  LineChart held_out;
  held_out.title = "Router error on held-out tokens, mean over the sites";
  held_out.x_title = "step";
  held_out.y_title = "MSE (% of predicting the mean)";
  held_out.y_unit = Unit::percent;
  for (size_t i = 0; i < runs.size(); ++i) {
    if (const StageData* convert = runs[i].stage("convert")) {
      add_series(loss, over_steps(runs[i].name, i, events_of(*convert, "router"), [](const Json& e) {
                   const double value = number_of(e, "loss");
                   return value > 0 ? value : NAN;
                 }));
      Series judged = over_steps(runs[i].name, i, events_of(*convert, "router_eval"), unexplained_share);
      judged.markers = true;
      add_series(held_out, std::move(judged));
    }
  }
  out += chart_figure("Routers", loss, 300) + chart_figure("Routers", held_out, 300);
  for (const RunData& run : runs) {
    const StageData* convert = run.stage("convert");
    if (!convert) continue;
    const std::string one = quality_table(convert->conversion) + regret_table(convert->conversion);
    if (!one.empty()) out += heading(run.name) + one;
  }
  return section("Router quality", out);
}

std::string config_section(const Runs& runs) {
  std::string out;
  for (const RunData& run : runs) {
    for (const std::string& name : kStages) {
      const StageData* stage = run.stage(name);
      if (!stage) continue;
      if (!stage->config.is_null())
        out += details(run.name + ": config of " + name, preformatted(stage->config));
      if (!stage->result.is_object()) continue;
      Json result = stage->result;
      if (name == "sweep_tau") {  // the tables have them
        for (const char* large : {"points", "dense"}) result.erase(large);
      }
      out += details(run.name + ": result of " + name, preformatted(result));
    }
  }
  return section("Configs and results", out);
}

std::string notes_section(const Runs& runs) {
  std::string out;
  for (const RunData& run : runs) {
    if (!run.warnings.empty()) out += heading("Could not be read: " + run.name) + bullet_list(run.warnings);
    if (!run.missing.empty()) out += details("Not there: " + run.name, bullet_list(run.missing));
  }
  return section("Notes", out);
}

}  // namespace d2dmoe::report
