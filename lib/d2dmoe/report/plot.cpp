#include "d2dmoe/report/plot.h"

#include <algorithm>
#include <cmath>
#include <limits>

namespace d2dmoe::report {
namespace {

constexpr double kTitleSize = 15, kTextSize = 12.5, kTickSize = 12;
constexpr double kLegendRow = 21, kLegendSample = 24, kLegendGap = 20;
constexpr double kMarker = 3.8;

/// One entry of the legend.
struct Entry {
  std::string name;
  Color color;
  bool marker, line;
  std::vector<double> dash;
  bool diamond;
};

Color baseline_color(const Baseline& baseline) {
  return baseline.color ? palette(*baseline.color) : kMuted;
}

std::vector<Entry> entries_of(const LineChart& chart) {
  std::vector<Entry> entries;
  for (const Series& s : chart.series) {
    if (!s.name.empty()) entries.push_back({s.name, palette(s.color), s.markers, s.line, s.dash, s.diamond});
  }
  for (const Baseline& b : chart.baselines) {
    if (!b.name.empty()) entries.push_back({b.name, baseline_color(b), false, true, {6, 4}, false});
  }
  return entries;
}

double entry_width(const Entry& entry) {
  return kLegendSample + 6 + text_width(entry.name, kTextSize) + kLegendGap;
}

void draw_diamond(Canvas& canvas, Point at, double radius, const Color& fill) {
  const Point corners[] = {
      {at.x, at.y - radius}, {at.x + radius, at.y}, {at.x, at.y + radius}, {at.x - radius, at.y}};
  canvas.polygon(corners, fill);
}

void draw_marker(Canvas& canvas, Point at, bool diamond, bool hollow, const Color& color) {
  if (diamond) {
    // Larger than a circle: it stands alone and may lie on a point of a line.
    if (!hollow) draw_diamond(canvas, at, kMarker + 3.2, kPaper);
    draw_diamond(canvas, at, kMarker + 1.8, color);
    if (hollow) draw_diamond(canvas, at, kMarker - 0.8, kPaper);
  } else if (hollow) {
    canvas.circle(at, kMarker - 0.3, kPaper, {color, 1.8, {}});
  } else {
    canvas.circle(at, kMarker, color, {kPaper, 1, {}});
  }
}

void draw_legend(Canvas& canvas, const std::vector<Entry>& entries, double x, double y, double width) {
  double at = 0;
  for (const Entry& entry : entries) {
    if (at > 0 && at + entry_width(entry) - kLegendGap > width) {
      at = 0;
      y += kLegendRow;
    }
    const double middle = y + kLegendRow / 2;
    if (entry.line)
      canvas.line({x + at, middle}, {x + at + kLegendSample, middle}, {entry.color, 2, entry.dash});
    if (entry.marker)
      draw_marker(canvas, {x + at + kLegendSample / 2, middle}, entry.diamond, /*hollow=*/false, entry.color);
    canvas.text({x + at + kLegendSample + 6, middle + 4.4}, entry.name, {kTextSize});
    at += entry_width(entry);
  }
}

/// The finite points of a series, with what belongs to each.
struct Dot {
  double x, y, low, high;
  bool hollow;
};

std::vector<Dot> dots_of(const Series& s) {
  std::vector<Dot> dots;
  for (size_t i = 0; i < std::min(s.x.size(), s.y.size()); ++i) {
    if (!std::isfinite(s.x[i]) || !std::isfinite(s.y[i])) continue;
    const bool band =
        i < s.low.size() && i < s.high.size() && std::isfinite(s.low[i]) && std::isfinite(s.high[i]);
    dots.push_back({s.x[i], s.y[i], band ? s.low[i] : s.y[i], band ? s.high[i] : s.y[i],
                    i < s.hollow.size() && s.hollow[i]});
  }
  return dots;
}

struct Span {
  double low = std::numeric_limits<double>::infinity();
  double high = -std::numeric_limits<double>::infinity();
  void add(double value) {
    if (!std::isfinite(value)) return;
    low = std::min(low, value);
    high = std::max(high, value);
  }
  void pad(double share) {
    const double more = (high - low) * share;
    low -= more;
    high += more;
  }
};

Axis x_axis(const LineChart& chart, int ticks) {
  Span span;
  for (const Series& s : chart.series) {
    for (const Dot& dot : dots_of(s)) span.add(dot.x);
  }
  if (chart.x_from) span.add(*chart.x_from);
  if (chart.x_to) span.add(*chart.x_to);
  if (chart.x_log) {
    span.low /= 1.12;
    if (!chart.x_to || span.high > *chart.x_to) span.high *= 1.12;
    return Axis::logarithmic(span.low, span.high, chart.x_unit);
  }
  // A bound that was asked for is met exactly; the other end gets some air for the markers.
  const double air = 0.03 * (span.high - span.low);
  if (!chart.x_from || span.low < *chart.x_from) span.low -= air;
  if (!chart.x_to || span.high > *chart.x_to) span.high += air;
  return Axis::linear(span.low, span.high, chart.x_unit, ticks, chart.x_unit == Unit::percent ? 0.01 : 0);
}

Axis y_axis(const LineChart& chart, int ticks) {
  Span span;
  const auto add = [&](double value) {
    if (chart.y_cut) value = std::max(value, *chart.y_cut);
    if (chart.y_cap) value = std::min(value, *chart.y_cap);
    span.add(value);
  };
  for (const Series& s : chart.series) {
    for (const Dot& dot : dots_of(s)) {
      add(dot.y);
      add(dot.low);
      add(dot.high);
    }
  }
  for (const Baseline& b : chart.baselines) {
    add(b.y);
    if (b.low) add(*b.low);
    if (b.high) add(*b.high);
  }
  if (chart.y_from) span.add(*chart.y_from);
  if (chart.y_to) span.add(*chart.y_to);
  if (chart.y_log) return Axis::logarithmic(span.low / 1.1, span.high * 1.1, chart.y_unit);
  const double low = span.low, high = span.high;
  span.pad(0.06);
  if (chart.y_from && low == *chart.y_from) span.low = low;
  if (chart.y_to && high == *chart.y_to) span.high = high;
  return Axis::linear(span.low, span.high, chart.y_unit, ticks, chart.least_y_span);
}

/// Places of an axis pair in the picture.
struct Frame {
  Rect plot;
  Axis x, y;
  Point at(double vx, double vy) const {
    const double up = std::clamp(y.share(vy), -3.0, 4.0);
    return {plot.x + x.share(vx) * plot.width, plot.bottom() - up * plot.height};
  }
};

void draw_axes(Canvas& canvas, const LineChart& chart, const Frame& frame) {
  const Rect& plot = frame.plot;
  for (const Tick& tick : frame.y.ticks()) {
    const double y = frame.at(frame.x.low(), tick.value).y;
    canvas.line({plot.x, y}, {plot.right(), y}, {kGrid, 1, {}});
    canvas.text({plot.x - 8, y + 4.3}, tick.label, {kTickSize, kMuted, Anchor::end});
  }
  double taken = -1e9;  // right end of the last label
  for (const Tick& tick : frame.x.ticks()) {
    const double x = frame.at(tick.value, frame.y.low()).x;
    canvas.line({x, plot.bottom()}, {x, plot.bottom() + 5}, {kMuted, 1, {}});
    const double half = text_width(tick.label, kTickSize) / 2;
    if (x - half < taken + 6) continue;
    taken = x + half;
    canvas.text({x, plot.bottom() + 19}, tick.label, {kTickSize, kMuted, Anchor::middle});
  }
  canvas.line({plot.x, plot.bottom()}, {plot.right(), plot.bottom()}, {kMuted, 1, {}});
  canvas.text({plot.x + plot.width / 2, plot.bottom() + 40}, chart.x_title,
              {kTextSize, kInk, Anchor::middle});
}

void draw_baselines(Canvas& canvas, const LineChart& chart, const Frame& frame) {
  for (const Baseline& b : chart.baselines) {
    if (!std::isfinite(b.y)) continue;
    const double y = frame.at(frame.x.low(), b.y).y;
    if (b.low && b.high) {
      const double top = frame.at(frame.x.low(), *b.high).y, bottom = frame.at(frame.x.low(), *b.low).y;
      canvas.rect({frame.plot.x, top, frame.plot.width, bottom - top}, baseline_color(b).with_alpha(0.12));
    }
    canvas.line({frame.plot.x, y}, {frame.plot.right(), y}, {baseline_color(b), 1.6, {6, 4}});
  }
}

void draw_interval(Canvas& canvas, const std::vector<Dot>& dots, const Color& color, const Frame& frame) {
  if (dots.size() == 1) {
    const Point low = frame.at(dots[0].x, dots[0].low), high = frame.at(dots[0].x, dots[0].high);
    canvas.line(low, high, {color, 1.5, {}});
    for (const Point& end : {low, high})
      canvas.line({end.x - 4, end.y}, {end.x + 4, end.y}, {color, 1.5, {}});
    return;
  }
  std::vector<Point> band;
  for (const Dot& dot : dots) band.push_back(frame.at(dot.x, dot.high));
  for (auto dot = dots.rbegin(); dot != dots.rend(); ++dot) band.push_back(frame.at(dot->x, dot->low));
  canvas.polygon(band, color.with_alpha(0.13));
}

void draw_series(Canvas& canvas, const Series& s, const Frame& frame) {
  const Color color = palette(s.color);
  std::vector<Point> points;
  const std::vector<Dot> dots = dots_of(s);
  for (const Dot& dot : dots) points.push_back(frame.at(dot.x, dot.y));
  if (s.line) canvas.polyline(points, {color, 2, s.dash});
  // A line of one point would not be seen at all.
  if (!s.markers && points.size() != 1) return;
  for (size_t i = 0; i < points.size(); ++i) draw_marker(canvas, points[i], s.diamond, dots[i].hollow, color);
}

void draw_callout(Canvas& canvas, const Callout& callout, const Frame& frame) {
  const double line = 17;
  const Point at = frame.at(callout.at.x, callout.at.y);
  const double width =
      std::max(text_width(callout.first, kTextSize, true), text_width(callout.second, kTextSize, true));
  // Below the point: curves rise to the right, so right of them (left of the cheapest one) there is room.
  const double drop = std::min(52.0, frame.plot.bottom() - line - 10 - at.y);
  if (drop < 16) return;
  const bool left = callout.left && at.x - 12 - width > frame.plot.x;
  const double x = left ? at.x - 12 - width : std::min(at.x + 20, frame.plot.right() - width - 4);
  const Point end = {left ? x + width + 3 : std::max(x - 4, at.x), at.y + drop - 5};
  canvas.line({at.x + (left ? -3 : 3), at.y + 5}, end, {kMuted, 1, {}});
  canvas.rect({x - 3, at.y + drop - 13, width + 6, 2 * line + 1}, kPaper.with_alpha(0.8));
  canvas.text({x, at.y + drop}, callout.first, {kTextSize, kInk, Anchor::start, true});
  canvas.text({x, at.y + drop + line}, callout.second, {kTextSize, kInk, Anchor::start, true});
}

}  // namespace

int legend_rows(const LineChart& chart, double width) {
  const std::vector<Entry> entries = entries_of(chart);
  int rows = entries.empty() ? 0 : 1;
  double at = 0;
  for (const Entry& entry : entries) {
    if (at > 0 && at + entry_width(entry) - kLegendGap > width) {
      at = 0;
      ++rows;
    }
    at += entry_width(entry);
  }
  return rows;
}

void draw(Canvas& canvas, const LineChart& chart, const Rect& area) {
  const int rows = std::max(chart.legend_rows, legend_rows(chart, area.width));
  const double head = (chart.title.empty() ? 4 : 26) + rows * kLegendRow + 8;
  const double foot = 48;
  const int y_ticks = std::clamp(static_cast<int>((area.height - head - foot) / 48), 2, 10);
  Axis y = y_axis(chart, y_ticks);
  double labels = 0;
  for (const Tick& tick : y.ticks()) labels = std::max(labels, text_width(tick.label, kTickSize));
  const double side = labels + 12 + (chart.y_title.empty() ? 0 : 20);
  const Rect plot{area.x + side, area.y + head, area.width - side - 14, area.height - head - foot};
  const Frame frame{plot, x_axis(chart, std::clamp(static_cast<int>(plot.width / 70), 2, 10)), std::move(y)};

  if (!chart.title.empty()) {
    canvas.text({area.x, area.y + 16}, chart.title, {kTitleSize, kInk, Anchor::start, true});
  }
  draw_legend(canvas, entries_of(chart), area.x, area.y + (chart.title.empty() ? 4 : 26), area.width);
  if (!chart.y_title.empty()) {
    canvas.text({area.x + 12, plot.y + plot.height / 2}, chart.y_title,
                {kTextSize, kInk, Anchor::middle, false, -90});
  }
  draw_axes(canvas, chart, frame);
  // Markers at the very edge stay whole.
  canvas.push_clip({plot.x - 5, plot.y - 5, plot.width + 10, plot.height + 5});
  draw_baselines(canvas, chart, frame);
  for (const Series& s : chart.series) {
    if (!s.low.empty()) draw_interval(canvas, dots_of(s), palette(s.color), frame);
  }
  for (const Series& s : chart.series) draw_series(canvas, s, frame);
  if (chart.callout) draw_callout(canvas, *chart.callout, frame);
  canvas.pop_clip();
}

}  // namespace d2dmoe::report
