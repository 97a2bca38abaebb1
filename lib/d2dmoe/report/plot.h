#pragma once

#include <optional>
#include <string>
#include <vector>

#include "d2dmoe/report/axis.h"
#include "d2dmoe/report/canvas.h"

namespace d2dmoe::report {

/// Points of one thing, in the order in which a line connects them. A point with a coordinate that is no
/// finite number is left out.
struct Series {
  std::string name;
  std::vector<double> x, y;
  std::vector<double> low,
      high;                  ///< interval of y: a light band, or a bar when there is one point; empty = none
  std::vector<bool> hollow;  ///< markers drawn hollow; empty = all filled
  size_t color = 0;          ///< in the palette
  bool line = true;
  bool markers = true;
  std::vector<double> dash;
  bool diamond = false;  ///< markers are diamonds, not circles
};

/// A horizontal line over the whole width, for example the dense model.
struct Baseline {
  std::string name;
  double y = 0;
  std::optional<double> low, high;  ///< its interval: a light band
  std::optional<size_t> color;      ///< in the palette; none = grey
};

/// One point that the picture wants to be remembered by.
struct Callout {
  Point at;
  std::string first, second;  ///< two lines of text
  bool left = false;          ///< stands left of the point, where a chart has its empty corner there
};

struct LineChart {
  std::string title, x_title, y_title;
  Unit x_unit = Unit::plain, y_unit = Unit::plain;
  bool x_log = false, y_log = false;
  std::vector<Series> series;
  std::vector<Baseline> baselines;
  std::optional<Callout> callout;
  std::optional<double> x_from, x_to;  ///< the axis reaches at least this far
  std::optional<double> y_from, y_to;
  std::optional<double> y_cut;  ///< the axis does not go below this: what is there is cut off
  std::optional<double> y_cap;  ///< nor above this
  double least_y_span = 0;
  int legend_rows = 0;  ///< rows kept for the legend at least, to align charts side by side
};

/// Rows that the chart's legend takes at this width.
int legend_rows(const LineChart& chart, double width);
/// Draws the chart into `area`: title, legend, axes with ticks, bands, lines, markers.
void draw(Canvas& canvas, const LineChart& chart, const Rect& area);

/// A matrix of shares as colours, one row per name.
struct Heatmap {
  std::string title, x_title;
  std::vector<std::string> rows;
  std::vector<std::vector<double>> values;  ///< per row; rows may differ in length: each fills the width
  Unit unit = Unit::percent;
};
void draw(Canvas& canvas, const Heatmap& map, const Rect& area);

/// Horizontal bars.
struct BarChart {
  std::string title, x_title;
  std::vector<std::string> names;
  std::vector<double> values;
  Unit unit = Unit::plain;
  bool log = false;
};
void draw(Canvas& canvas, const BarChart& bars, const Rect& area);
/// The height at which bars or rows of a heatmap have a readable size.
double height_for_rows(size_t rows);

}  // namespace d2dmoe::report
