#include "d2dmoe/report/plot.h"

#include <cmath>
#include <limits>

#include "d2dmoe/core/format.h"
#include "d2dmoe/report/svg_canvas.h"
#include "support/support.h"

using namespace d2dmoe::report;
using d2dmoe::test::contains;

namespace {

constexpr double kNan = std::numeric_limits<double>::quiet_NaN();

/// Records where texts stand, to see whether any overlap or leave the picture.
class TextRecorder : public SvgCanvas {
 public:
  using SvgCanvas::SvgCanvas;
  void text(Point at, std::string_view text, const TextStyle& style) override {
    if (style.rotation != 0) return;
    const double width = text_width(text, style.size, style.bold);
    const double back = style.anchor == Anchor::start ? 0 : style.anchor == Anchor::middle ? 0.5 : 1;
    boxes.push_back({at.x - back * width, at.y - 0.7 * style.size, width, 0.8 * style.size});
  }
  bool overlap() const {
    for (size_t i = 0; i < boxes.size(); ++i) {
      for (size_t j = 0; j < i; ++j) {
        const Rect &a = boxes[i], &b = boxes[j];
        if (a.x < b.right() && b.x < a.right() && a.y < b.bottom() && b.y < a.bottom()) return true;
      }
    }
    return false;
  }
  std::vector<Rect> boxes;
};

LineChart chart_of(std::vector<double> x, std::vector<double> y) {
  LineChart chart;
  chart.title = "A chart of points";
  chart.x_title = "cost of a point";
  chart.y_title = "quality of a point";
  chart.x_unit = chart.y_unit = Unit::percent;
  chart.least_y_span = 0.02;
  Series s;
  s.name = "series";
  s.x = std::move(x);
  s.y = std::move(y);
  s.low = s.high = s.y;
  chart.series = {s};
  chart.baselines = {{"dense", 0.92, 0.91, 0.93, {}}};
  return chart;
}

}  // namespace

TEST_CASE("plot: no label covers another, whatever the points") {
  std::vector<LineChart> charts = {
      chart_of({}, {}),
      chart_of({0.1}, {0.92}),
      chart_of({0.1, 0.1001, 0.1002}, {0.92, 0.9201, 0.9199}),
      chart_of({0.02, 0.04, 0.1, 0.3, 1}, {0.81, 0.9, 0.915, 0.921, 0.922}),
      chart_of({kNan, 0.3}, {0.9, kNan}),
      chart_of({0.1, kNan, 0.4}, {0.92, 0.3, kNan}),
  };
  for (LineChart& chart : charts) {
    for (const bool log : {false, true}) {
      chart.x_log = log;
      TextRecorder canvas(460, 400, "test");
      draw(canvas, chart, {0, 0, 460, 400});
      CHECK_FALSE(canvas.overlap());
      for (const Rect& box : canvas.boxes) {
        CHECK(box.x >= 0);
        CHECK(box.right() <= 460);
      }
      CHECK_FALSE(contains(canvas.str(), "nan"));
      CHECK_FALSE(contains(canvas.str(), "inf"));
    }
  }
}

TEST_CASE("plot: a long legend wraps and moves the chart down") {
  LineChart chart = chart_of({0.1, 0.2}, {0.9, 0.91});
  for (int i = 0; i < 12; ++i) {
    Series copy = chart.series[0];
    copy.name = d2dmoe::format("a run with a long name, number {}", i);
    chart.series.push_back(copy);
  }
  CHECK(legend_rows(chart, 460) > 5);
  TextRecorder canvas(460, 600, "test");
  draw(canvas, chart, {0, 0, 460, 600});
  CHECK_FALSE(canvas.overlap());
}

TEST_CASE("plot: a point that is not a number leaves no mark, a lone one stays visible") {
  const auto circles = [](const LineChart& chart) {
    SvgCanvas canvas(300, 300, "x");
    draw(canvas, chart, {0, 0, 300, 300});
    const std::string text = canvas.str();
    size_t count = 0;
    for (size_t at = text.find("<circle"); at != text.npos; at = text.find("<circle", at + 1)) ++count;
    return count;
  };
  LineChart chart = chart_of({0.1, kNan, 0.2}, {0.9, 0.9, kNan});
  chart.series[0].name.clear();
  CHECK(circles(chart) == 2);  // disc and ring of the one whole point
  chart.series[0].markers = false;
  CHECK(circles(chart) == 2);
}

TEST_CASE("plot: heatmaps and bars take rows of any length and odd values") {
  Heatmap map{
      "use", "experts", {"a", "b", "c"}, {{1, 0.5, kNan}, {}, std::vector<double>(5000, 0.1)}, Unit::percent};
  SvgCanvas canvas(600, height_for_rows(3), "m");
  draw(canvas, map, {0, 0, 600, height_for_rows(3)});
  CHECK_FALSE(contains(canvas.str(), "nan"));
  for (const bool log : {false, true}) {
    BarChart bars{"b", "x", {"a", "b", "c"}, {1000, kNan, 0}, Unit::plain, log};
    SvgCanvas picture(600, 200, "b");
    draw(picture, bars, {0, 0, 600, 200});
    CHECK(contains(picture.str(), ">–</text>"));
  }
  draw(canvas, BarChart{}, {0, 0, 600, 100});
  draw(canvas, Heatmap{}, {0, 0, 600, 100});
}
