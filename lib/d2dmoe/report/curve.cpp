#include "d2dmoe/report/curve.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <numeric>
#include <optional>

#include "d2dmoe/config/metric_units.h"
#include "d2dmoe/core/format.h"
#include "d2dmoe/io/atomic_file.h"
#include "d2dmoe/report/json_access.h"
#include "d2dmoe/report/png_canvas.h"
#include "d2dmoe/report/point_table.h"
#include "d2dmoe/report/svg_canvas.h"
#include "d2dmoe/report/sweep_points.h"
#include "d2dmoe/report/value_text.h"

namespace d2dmoe::report {
namespace {

constexpr double kPictureWidth = 900, kPictureHeight = 480;
constexpr double kPoint = 1;  // "within one point of dense"
constexpr double kCutBelow =
    0.06;  // points further below dense than this are cut off: the picture is about the top
constexpr double kCutAbove = 1.3;  // of a loss or a perplexity: the same

/// Curves of one picture share its quality axis.
std::string common_metric(const std::vector<Curve>& curves) {
  return curves.empty() ? "accuracy" : metric_of(curves.front().points);
}

std::string metric_title(const std::string& metric) {
  if (metric == "loss") return "Task loss";
  if (metric == "perplexity") return "Perplexity";
  if (metric == "bits_per_byte") return "Bits per byte";
  const std::string name = metric == "macro_f1"        ? "Macro F1"
                           : metric == "mcc"           ? "Matthews correlation"
                           : metric == "pearson"       ? "Pearson correlation"
                           : metric == "top5_accuracy" ? "Top-5 accuracy"
                           : metric == "accuracy_norm" ? "Normalised accuracy"
                                                       : "Accuracy";
  return name + " (%)";
}

/// Points of one selection rule: a sweep may hold several.
using Group = std::vector<const Json*>;

std::map<std::string, Group> by_rule(const Json& points) {
  std::map<std::string, Group> groups;
  for (const Json& point : points) groups[text_of(point, "rule", "dynamic_k")].push_back(&point);
  return groups;
}

/// A series of `points`, by what `x_of` says, sorted by it.
template <class F>
Series series_of(const std::string& name, size_t color, const Group& points, F&& x_of) {
  Series s;
  s.name = name;
  s.color = color;
  std::vector<size_t> order(points.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::vector<double> x;
  for (const Json* point : points) x.push_back(x_of(*point));
  // NaN last: comparing with it would be no order.
  std::stable_sort(order.begin(), order.end(),
                   [&](size_t a, size_t b) { return std::isnan(x[b]) ? !std::isnan(x[a]) : x[a] < x[b]; });
  for (const size_t i : order) {
    const Json& point = *points[i];
    const auto interval = interval_of(point);
    s.x.push_back(x[i]);
    s.y.push_back(number_of(point, "score"));
    s.low.push_back(interval ? interval->first : NAN);
    s.high.push_back(interval ? interval->second : NAN);
    s.hollow.push_back(member(point, "within_noise").is_boolean() && !is_true(point, "within_noise"));
  }
  return s;
}

/// The single points of a sweep as diamonds without a line. Beside other sweeps they have the color of their
/// own curve, and the all-experts point, which says little there, is left out.
void add_marked(LineChart& chart, const Curve& curve, bool single, size_t& color, const char* key) {
  for (const Json& point : curve.marked) {
    if (!point.is_object() || (!single && text_of(point, "rule", "") == "all")) continue;
    const std::string label = text_of(point, "label", "point");
    Series s = series_of(single ? label : curve.name + ", " + label, single ? color++ : color - 1, {&point},
                         [key](const Json& p) { return number_of(p, key); });
    s.line = false;
    s.diamond = true;
    chart.series.push_back(std::move(s));
  }
}

std::vector<Baseline> baselines_of(const std::vector<Curve>& curves, const std::string& metric) {
  std::vector<Baseline> baselines;
  size_t color = 0;  // of the sweep's first curve
  for (size_t i = 0; i < curves.size(); color += by_rule(curves[i++].points).size()) {
    const double score = number_of(curves[i].dense, "score");
    if (!std::isfinite(score)) continue;
    const bool known =
        std::any_of(baselines.begin(), baselines.end(), [&](const Baseline& b) { return b.y == score; });
    if (known) continue;
    Baseline baseline{"dense " + score_text(score, metric), score, {}, {}, {}};
    if (const auto interval = interval_of(curves[i].dense)) {
      baseline.low = interval->first;
      baseline.high = interval->second;
    }
    baselines.push_back(baseline);
    if (baselines.size() > 1) {  // dense lines that differ belong to their sweeps
      baselines.back().color = color;
      baselines.back().name = curves[i].name + ", " + baselines.back().name;
    }
  }
  return baselines;
}

/// Everything that the charts share: the quality axis.
LineChart quality_chart(const std::vector<Curve>& curves) {
  LineChart chart;
  const std::string metric = common_metric(curves);
  chart.y_title = metric_title(metric);
  const bool share = config::metric_is_share(metric);
  chart.y_unit = share ? Unit::percent : Unit::plain;
  chart.baselines = baselines_of(curves, metric);
  if (chart.baselines.empty()) return chart;
  const auto [lowest, highest] =
      std::minmax_element(chart.baselines.begin(), chart.baselines.end(),
                          [](const Baseline& a, const Baseline& b) { return a.y < b.y; });
  if (share) {
    chart.least_y_span = 0.02;
    chart.y_cut = lowest->y - kCutBelow;
  } else {
    chart.y_cap = highest->y * kCutAbove;
  }
  return chart;
}

std::string share_text(double share) {
  return percent(share, share < 0.0995 ? 1 : 0);
}

/// Callouts name the headline point of a single sweep.
void add_callout(LineChart& chart, const Curve& curve, const char* key, const std::string& of) {
  const int64_t index = headline_point(curve.dense, curve.points);
  if (index < 0) return;
  const Json& point = curve.points[static_cast<size_t>(index)];
  const double x = number_of(point, key), score = number_of(point, "score");
  if (!std::isfinite(x)) return;
  chart.callout = Callout{{x, score},
                          score_text(score, metric_of(curve.points)) + " at",
                          share_text(x) + " of " + of,
                          of == "FLOPs"};
}

}  // namespace

std::string curve_remark(const std::vector<Curve>& curves) {
  const LineChart chart = quality_chart(curves);
  int hidden = 0;
  bool intervals = false;
  for (const Curve& curve : curves) {
    for (const Json& point : curve.points) {
      const double score = number_of(point, "score");
      hidden += (chart.y_cut && score < *chart.y_cut) || (chart.y_cap && score > *chart.y_cap);
      intervals = intervals || interval_of(point).has_value();
    }
  }
  std::string text = intervals ? "Bands: 95 % bootstrap intervals. Filled: within noise of dense (the paired "
                                 "difference's interval holds 0); hollow: not."
                               : "Without intervals (bootstrap 0).";
  if (hidden > 0) text += format(" Not shown, off the axis: {} point{}.", hidden, hidden > 1 ? "s" : "");
  return text;
}

int64_t headline_point(const Json& dense, const Json& points) {
  const double baseline = number_of(dense, "score");
  int64_t best = -1;
  double least = INFINITY;
  for (size_t i = 0; i < points.size(); ++i) {
    const double score = number_of(points[i], "score");
    const double worse = config::points_worse(text_of(points[i], "metric", "accuracy"), baseline, score);
    const double flops = number_of(points[i], "flops_share");
    const double cost = std::isfinite(flops) ? flops : number_of(points[i], "executed_share");
    // The slack is for scores such as 0.9225 - 0.01, which binary fractions miss by a hair.
    if (worse <= kPoint + 1e-7 && cost < least) {
      least = cost;
      best = static_cast<int64_t>(i);
    }
  }
  return best;
}

std::vector<LineChart> curve_charts(const std::vector<Curve>& curves) {
  LineChart experts = quality_chart(curves), cost = quality_chart(curves);
  experts.title = "Quality by executed experts";
  experts.x_title = "executed experts (% of all, log scale)";
  experts.x_unit = Unit::percent;
  experts.x_log = true;
  experts.x_to = 1.0;
  cost.title = "Quality by cost of the whole model";
  cost.x_unit = Unit::percent;
  cost.x_from = 0.0;
  cost.x_to = 1.0;
  const bool single = curves.size() == 1;
  size_t color = 0;
  bool timed = false;
  for (const Curve& curve : curves) {
    const auto groups = by_rule(curve.points);
    for (const auto& [rule, group] : groups) {
      const std::string name = single ? rule : groups.size() > 1 ? curve.name + ", " + rule : curve.name;
      const auto share = [](const char* key) {
        return [key](const Json& point) { return number_of(point, key); };
      };
      experts.series.push_back(series_of(name, color, group, share("executed_share")));
      cost.series.push_back(
          series_of(single && groups.size() == 1 ? "FLOPs" : name, color, group, share("flops_share")));
      ++color;
    }
    size_t marked_color = color;
    add_marked(experts, curve, single, marked_color, "executed_share");
    add_marked(cost, curve, single, color, "flops_share");
    if (!single || groups.size() != 1) continue;
    for (const double batch : timed_batches(curve.points)) {
      Series time = series_of(format("time, batch {}", batch), color++, groups.begin()->second,
                              [&](const Json& point) { return time_ratio(point, batch); });
      time.low.clear();  // the same intervals again would only cover the picture
      time.high.clear();
      cost.series.push_back(std::move(time));
      timed = true;
    }
  }
  cost.x_title = timed ? "FLOPs and time (% of the dense model)" : "FLOPs (% of the dense model)";
  if (single) {
    add_callout(experts, curves[0], "executed_share", "experts");
    add_callout(cost, curves[0], "flops_share", "FLOPs");
  }
  return {experts, cost};
}

LineChart time_chart(const std::vector<Curve>& curves) {
  LineChart chart = quality_chart(curves);
  chart.title = "Quality by measured time";
  chart.x_title = "time (% of the dense model, same process, alternating runs)";
  chart.x_unit = Unit::percent;
  chart.x_from = 0.0;
  chart.x_to = 1.0;
  const std::vector<std::vector<double>> dashes = {{}, {7, 3}, {2, 3}, {9, 3, 2, 3}};
  for (size_t i = 0; i < curves.size(); ++i) {
    const std::vector<double> batches = timed_batches(curves[i].points);
    Group all;
    for (const Json& point : curves[i].points) all.push_back(&point);
    for (size_t b = 0; b < batches.size(); ++b) {
      Series s = series_of(format("{}, batch {}", curves[i].name, batches[b]), i, all,
                           [&](const Json& point) { return time_ratio(point, batches[b]); });
      s.low.clear();
      s.high.clear();
      s.dash = dashes[b % dashes.size()];
      chart.series.push_back(std::move(s));
    }
  }
  return chart;
}

void draw_charts(Canvas& canvas, std::vector<LineChart> charts, const std::string& remark, double width,
                 double height) {
  constexpr double kMargin = 14, kGap = 22, kRemark = 24;
  canvas.rect({0, 0, width, height}, kPaper);
  const double count = static_cast<double>(std::max<size_t>(1, charts.size()));
  const double each = (width - 2 * kMargin - (count - 1) * kGap) / count;
  int rows = 0;
  for (const LineChart& chart : charts) rows = std::max(rows, legend_rows(chart, each));
  double x = kMargin;
  for (LineChart& chart : charts) {
    chart.legend_rows = rows;
    draw(canvas, chart, {x, kMargin - 2, each, height - kMargin - kRemark});
    x += each + kGap;
  }
  canvas.text({kMargin, height - 11}, remark, {11, kMuted});
}

void write_curve(const std::filesystem::path& dir, const Json& dense, const Json& points,
                 const std::vector<Json>& marked) {
  const std::vector<Curve> curves = {{"sweep", dense, points, marked}};
  SvgCanvas svg(kPictureWidth, kPictureHeight, "Quality and cost of dynamic-k selection");
  PngCanvas png(kPictureWidth, kPictureHeight);
  for (Canvas* canvas : std::initializer_list<Canvas*>{&svg, &png}) {
    draw_charts(*canvas, curve_charts(curves), curve_remark(curves), kPictureWidth, kPictureHeight);
  }
  io::write_file(dir / "curve.svg", svg.str());
  io::write_file(dir / "curve.png", png.png());
  io::write_file(dir / "curve.csv", csv_table(dense, points, marked).csv());
  io::write_file(dir / "table.md",
                 point_table(dense, points).markdown() + "\n" + point_table_remark() + "\n");
}

}  // namespace d2dmoe::report
