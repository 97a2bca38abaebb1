#include "d2dmoe/report/bench.h"

#include <algorithm>
#include <cmath>

#include "d2dmoe/core/format.h"
#include "d2dmoe/io/atomic_file.h"
#include "d2dmoe/report/json_access.h"
#include "d2dmoe/report/png_canvas.h"
#include "d2dmoe/report/svg_canvas.h"
#include "d2dmoe/report/table.h"
#include "d2dmoe/report/value_text.h"

namespace d2dmoe::report {
namespace {

constexpr double kBand = 0.10;  // the band above the diagonal
constexpr double kChartWidth = 440, kChartHeight = 400, kRemarkHeight = 44, kRemarkLine = 17;
constexpr size_t kColumns = 3;
constexpr double kHighestRatio = 1.6;  // what lies above is cut off: the picture is about savings
constexpr size_t kBandColor = 6;

double ratio_of(const Json& point, const char* candidate) {
  return number_of(member(point, candidate), "ratio");
}

double median_of(const Json& point, const char* candidate) {
  return number_of(member(point, candidate), "median_ms");
}

int64_t whole(const Json& json, const char* key) {
  const double value = number_of(json, key);
  return std::isfinite(value) ? std::llround(value) : 0;
}

std::string selection_text(const Json& point) {
  const Json& selection = member(point, "selection");
  if (!selection.is_object()) return "the folder's own";
  return format("{} {:.4g}", text_of(selection, "rule") == "dynamic_k" ? "τ" : text_of(selection, "rule"),
                number_of(selection, "value"));
}

/// The diagonal and the band above it.
std::vector<Series> diagonal() {
  Series band;
  band.x = {0, 1};
  band.y = band.low = {0, 1};
  band.high = {kBand, 1 + kBand};
  band.color = kBandColor;
  band.markers = band.line = false;
  Series line;
  line.name = "time = share (band: + 10 points)";
  line.x = line.y = {0, 1};
  line.color = kBandColor;
  line.markers = false;
  line.dash = {2, 3};
  return {band, line};
}

LineChart empty_chart(const std::string& title) {
  LineChart chart;
  chart.title = title;
  chart.x_title = "Executed share of the experts (%)";
  chart.y_title = "Time of the dense one (%)";
  chart.x_unit = chart.y_unit = Unit::percent;
  chart.x_from = chart.y_from = 0;
  chart.x_to = 1;
  chart.y_to = 1 + kBand;
  chart.y_cap = kHighestRatio;
  return chart;
}

/// The layers of one name: they differ by the kind of mask.
LineChart layer_chart(const std::string& name, const std::vector<const Json*>& layers) {
  LineChart chart = empty_chart(name);
  chart.series = diagonal();
  size_t color = 0;
  for (const Json* layer : layers) {
    std::vector<int64_t> rows;
    for (const Json& point : member(*layer, "points")) {
      if (std::find(rows.begin(), rows.end(), whole(point, "rows")) == rows.end())
        rows.push_back(whole(point, "rows"));
    }
    for (const int64_t count : rows) {
      if (color == kBandColor) ++color;
      Series whole_layer, kernel;
      for (const Json& point : member(*layer, "points")) {
        if (whole(point, "rows") != count) continue;
        whole_layer.x.push_back(number_of(point, "share"));
        whole_layer.y.push_back(ratio_of(point, "layer"));
        kernel.x.push_back(number_of(point, "share"));
        kernel.y.push_back(ratio_of(point, "kernel"));
      }
      whole_layer.name = format("{} row{}", count, count == 1 ? "" : "s");
      if (layers.size() > 1) whole_layer.name += ", " + text_of(*layer, "mask");
      kernel.dash = {5, 4};
      kernel.markers = false;
      whole_layer.color = kernel.color = color++;
      chart.series.push_back(kernel);
      chart.series.push_back(whole_layer);
    }
  }
  return chart;
}

LineChart model_chart(const Json& model) {
  LineChart chart = empty_chart("Whole model");
  chart.x_title = "Executed share of all experts (%)";
  chart.series = diagonal();
  size_t color = 0;
  const Json& points = member(model, "points");
  const Json& first = points.empty() ? points : member(points.front(), "time");
  for (size_t b = 0; b < first.size(); ++b, ++color) {
    Series series;
    series.name = format("batch {}", whole(first[b], "batch"));
    series.color = color;
    for (const Json& point : points) {
      series.x.push_back(number_of(point, "executed_share"));
      series.y.push_back(number_of(member(point, "time").at(b), "ratio"));
    }
    chart.series.push_back(series);
  }
  return chart;
}

std::string layer_table(const Json& layer) {
  const Json& points = member(layer, "points");
  const bool ordered = !points.empty() && points.front().contains("ordered");
  std::vector<Column> columns = {
      {"rows"},       {"mask", false},    {"share"},        {"dense"},           {"dense path / dense"},
      {"kernel"},     {"kernel / dense"}, {"auto / dense"}, {"routing / dense"}, {"layer / dense [p10, p90]"},
      {"dense rate"}, {"kernel rate"}};
  if (ordered) columns.insert(columns.end(), {{"ordered / kernel"}, {"moved / kernel"}});
  Table table(std::move(columns));
  for (const Json& p : points) {
    const Json& rate = member(p, "rate");
    const std::string unit = text_of(rate, "unit");
    const auto rate_text = [&](const char* value, const char* share) {
      return format("{:.4g} {} ({:.0f} %)", number_of(rate, value), unit, 100 * number_of(rate, share));
    };
    std::vector<std::string> cells = {
        format("{}", whole(p, "rows")),
        text_of(layer, "mask"),
        percent(number_of(p, "share"), 1),
        format("{:.4g} ms", median_of(p, "dense")),
        format("{:.3f}", ratio_of(p, "dense_path")),
        format("{:.4g} ms", median_of(p, "kernel")),
        format("{:.3f}", ratio_of(p, "kernel")),
        format("{:.3f}", ratio_of(p, "auto")),
        format("{:.3f}", median_of(p, "routing") / median_of(p, "dense")),
        format("{:.3f} [{:.3f}, {:.3f}]", ratio_of(p, "layer"), number_of(member(p, "layer"), "ratio_p10"),
               number_of(member(p, "layer"), "ratio_p90")),
        rate_text("dense", "dense_of_peak"),
        rate_text("kernel", "kernel_of_peak")};
    if (ordered)
      for (const char* way : {"ordered", "moved"})
        cells.push_back(format("{:.3f}", median_of(p, way) / median_of(p, "kernel")));
    table.add_row(std::move(cells));
  }
  return table.markdown();
}

std::string model_table(const Json& model) {
  Table table({{"selection", false},
               {"experts"},
               {"FLOPs"},
               {"batch"},
               {"tokens"},
               {"dense"},
               {"routed"},
               {"routed / dense [p10, p90]"}});
  for (const Json& point : member(model, "points")) {
    for (const Json& t : member(point, "time")) {
      table.add_row({selection_text(point), percent(number_of(point, "executed_share"), 1),
                     percent(number_of(point, "flops_share"), 1), format("{}", whole(t, "batch")),
                     format("{:.0f}", number_of(t, "tokens")), format("{:.4g} ms", number_of(t, "dense_ms")),
                     format("{:.4g} ms", number_of(t, "routed_ms")),
                     format("{:.3f} [{:.3f}, {:.3f}]", number_of(t, "ratio"), number_of(t, "p10"),
                            number_of(t, "p90"))});
    }
  }
  return table.markdown();
}

}  // namespace

std::string bench_heading(const Json& layer) {
  return format(
      "\n{}: {}, {:.3g} MB of weights, {} masks\n{:>6} {:>7}  {:>10} {:>6} {:>10} {:>6} {:>6}  {:>10} {:>6} "
      "{:>15} "
      "{:>8}  {:>7} {:>15} {:>15}\n",
      text_of(layer, "name"), text_of(layer, "text"), number_of(layer, "weight_bytes") * 1e-6,
      text_of(layer, "mask"), "rows", "share", "dense ms", "path", "kernel ms", "/dense", "auto", "layer ms",
      "/dense", "[p10, p90]", "routing", "", "dense (peak)", "kernel (peak)");
}

std::string bench_line(const Json& p) {
  const Json &rate = member(p, "rate"), &layer = member(p, "layer");
  const auto rate_text = [&](const char* value, const char* share) {
    return format("{:.4g} ({:.0f} %)", number_of(rate, value), 100 * number_of(rate, share));
  };
  return format(
      "{:>6} {:>7}  {:>10.4g} {:>6.3f} {:>10.4g} {:>6.3f} {:>6.3f}  {:>10.4g} {:>6.3f} {:>15} {:>8.3f}  "
      "{:>7} {:>15} "
      "{:>15}\n",
      whole(p, "rows"), percent(number_of(p, "share"), 1), median_of(p, "dense"), ratio_of(p, "dense_path"),
      median_of(p, "kernel"), ratio_of(p, "kernel"), ratio_of(p, "auto"), median_of(p, "layer"),
      ratio_of(p, "layer"),
      format("[{:.3f}, {:.3f}]", number_of(layer, "ratio_p10"), number_of(layer, "ratio_p90")),
      median_of(p, "routing") / median_of(p, "dense"), text_of(rate, "unit"),
      rate_text("dense", "dense_of_peak"), rate_text("kernel", "kernel_of_peak"));
}

std::string bench_model_heading(const Json& model) {
  return format("\n{}, rows of {}\n{:>18} {:>8} {:>8} {:>6} {:>7}  {:>10} {:>10} {:>7} {:>15}\n",
                text_of(model, "folder"), text_of(model, "data"), "selection", "experts", "FLOPs", "batch",
                "tokens", "dense ms", "routed ms", "/dense", "[p10, p90]");
}

std::string bench_model_lines(const Json& point) {
  std::string text;
  for (const Json& t : member(point, "time")) {
    text += format("{:>18} {:>8} {:>8} {:>6} {:>7.0f}  {:>10.4g} {:>10.4g} {:>7.3f} {:>15}\n",
                   selection_text(point), percent(number_of(point, "executed_share"), 1),
                   percent(number_of(point, "flops_share"), 1), whole(t, "batch"), number_of(t, "tokens"),
                   number_of(t, "dense_ms"), number_of(t, "routed_ms"), number_of(t, "ratio"),
                   format("[{:.3f}, {:.3f}]", number_of(t, "p10"), number_of(t, "p90")));
  }
  return text;
}

std::string bench_machine_text(const Json& result) {
  const Json &machine = member(result, "machine"), &peaks = member(result, "peaks");
  const std::string cpu = text_of(machine, "cpu");
  return format(
      "{}{} of {} cores, {}, device {}, {}, LibTorch {}; peaks: {:.1f} GFLOP/s ({}), {:.1f} GB/s ({})\n",
      cpu.empty() ? "" : cpu + ", ", whole(machine, "threads"), whole(machine, "cores"),
      text_of(machine, "isa"), text_of(machine, "device"), text_of(result, "dtype"),
      text_of(machine, "torch"), number_of(peaks, "gflops"), text_of(peaks, "gflops_formula"),
      number_of(peaks, "gigabytes_per_second"), text_of(peaks, "gigabytes_formula"));
}

std::string bench_markdown(const Json& result) {
  std::string text = bench_machine_text(result);
  for (const Json& layer : member(result, "layers")) {
    text += format("\n**{}**, {} masks: {}; {:.3g} MB of weights\n\n{}", text_of(layer, "name"),
                   text_of(layer, "mask"), text_of(layer, "text"), number_of(layer, "weight_bytes") * 1e-6,
                   layer_table(layer));
  }
  const Json& model = member(result, "model");
  if (model.is_object()) {
    text += format("\n**Whole model** {}, rows of {}\n\n{}", text_of(model, "folder"), text_of(model, "data"),
                   model_table(model));
  }
  return text;
}

std::vector<LineChart> bench_charts(const Json& result) {
  std::vector<LineChart> charts;
  std::vector<std::string> names;
  for (const Json& layer : member(result, "layers")) {
    const std::string name = text_of(layer, "name");
    if (std::find(names.begin(), names.end(), name) == names.end()) names.push_back(name);
  }
  for (const std::string& name : names) {
    std::vector<const Json*> layers;
    for (const Json& layer : member(result, "layers")) {
      if (text_of(layer, "name") == name) layers.push_back(&layer);
    }
    charts.push_back(layer_chart(name, layers));
  }
  if (member(result, "model").is_object()) charts.push_back(model_chart(member(result, "model")));
  return charts;
}

void write_bench(const std::filesystem::path& dir, const Json& result) {
  auto charts = bench_charts(result);
  const size_t columns = std::min(kColumns, std::max<size_t>(1, charts.size()));
  const size_t lines = std::max<size_t>(1, (charts.size() + columns - 1) / columns);
  int legend = 0;
  for (const auto& chart : charts) legend = std::max(legend, legend_rows(chart, kChartWidth - 20));
  const double width = kChartWidth * static_cast<double>(columns);
  const double chart_height = kChartHeight + 21.0 * legend;
  const double height = chart_height * static_cast<double>(lines) + kRemarkHeight;
  SvgCanvas svg(width, height, "Time of routed layers against dense ones");
  PngCanvas png(width, height);
  for (Canvas* canvas : std::initializer_list<Canvas*>{&svg, &png}) {
    canvas->rect({0, 0, width, height}, kPaper);
    for (size_t i = 0; i < charts.size(); ++i) {
      charts[i].legend_rows = legend;
      draw(*canvas, charts[i],
           {kChartWidth * static_cast<double>(i % columns) + 10,
            chart_height * static_cast<double>(i / columns) + 8, kChartWidth - 20, chart_height - 16});
    }
    const Json& machine = member(result, "machine");
    const std::vector<std::string> remark = {
        "Full lines: the layer with its router; broken lines: the kernel alone.",
        format("Medians, in turn with the dense layer; {}, {} threads, {}, {}.", text_of(result, "dtype"),
               whole(machine, "threads"), text_of(machine, "isa"), text_of(machine, "device"))};
    for (size_t i = 0; i < remark.size(); ++i) {
      canvas->text({12, height - kRemarkHeight + 14 + kRemarkLine * static_cast<double>(i)}, remark[i],
                   {11.5, kMuted});
    }
  }
  io::write_file(dir / "bench.svg", svg.str());
  io::write_file(dir / "bench.png", png.png());
  io::write_file(dir / "bench.md", bench_markdown(result));
  io::write_file(dir / "bench.json", result.dump(2) + "\n");
}

}  // namespace d2dmoe::report
