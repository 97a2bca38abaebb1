#include <algorithm>
#include <array>
#include <cmath>

#include "d2dmoe/core/format.h"
#include "d2dmoe/report/plot.h"

namespace d2dmoe::report {
namespace {

constexpr double kHeadingSize = 15, kLabelSize = 12;
constexpr double kRow = 22;
constexpr size_t kMostCells = 256;  // per row: below this a cell has fewer than three pixels

std::string value_text(double value, Unit unit) {
  if (!std::isfinite(value)) return "–";
  return unit == Unit::percent ? format("{:.1f} %", 100 * value) : format("{:.4g}", value);
}

double label_width(const std::vector<std::string>& names) {
  double width = 0;
  for (const std::string& name : names) width = std::max(width, text_width(name, kLabelSize));
  return width + 10;
}

/// From white over blue to near black, in equal steps of lightness.
Color heat(double share) {
  static const std::vector<std::array<double, 3>> stops = {
      {243, 247, 251}, {189, 215, 238}, {107, 174, 214}, {33, 113, 181}, {8, 48, 107}};
  const double at =
      std::clamp(std::isfinite(share) ? share : 0, 0.0, 1.0) * static_cast<double>(stops.size() - 1);
  const size_t low = std::min(static_cast<size_t>(at), stops.size() - 2);
  const double part = at - static_cast<double>(low);
  std::array<int, 3> rgb;
  for (size_t i = 0; i < 3; ++i) {
    rgb[i] = static_cast<int>(std::lround(stops[low][i] * (1 - part) + stops[low + 1][i] * part));
  }
  return {format("#{:02x}{:02x}{:02x}", rgb[0], rgb[1], rgb[2]), 1, ""};
}

/// At most kMostCells values: each the mean of its neighbours.
std::vector<double> thinned(const std::vector<double>& values) {
  if (values.size() <= kMostCells) return values;
  std::vector<double> out(kMostCells);
  for (size_t i = 0; i < kMostCells; ++i) {
    const size_t from = i * values.size() / kMostCells, to = (i + 1) * values.size() / kMostCells;
    for (size_t j = from; j < to; ++j) out[i] += values[j] / static_cast<double>(to - from);
  }
  return out;
}

}  // namespace

double height_for_rows(size_t rows) {
  return 76 + kRow * static_cast<double>(rows);
}

void draw(Canvas& canvas, const Heatmap& map, const Rect& area) {
  canvas.text({area.x, area.y + 16}, map.title, {kHeadingSize, kInk, Anchor::start, true});
  double largest = 0;
  for (const auto& row : map.values) {
    for (const double value : row) {
      if (std::isfinite(value)) largest = std::max(largest, value);
    }
  }
  const double left = area.x + label_width(map.rows), width = area.right() - left, top = area.y + 32;
  for (size_t r = 0; r < std::min(map.rows.size(), map.values.size()); ++r) {
    const double y = top + kRow * static_cast<double>(r);
    canvas.text({left - 8, y + kRow / 2 + 3}, map.rows[r], {kLabelSize, kMuted, Anchor::end});
    const std::vector<double> row = thinned(map.values[r]);
    const double cell = width / static_cast<double>(std::max<size_t>(1, row.size()));
    for (size_t c = 0; c < row.size(); ++c) {
      // A hair wider than the cell: no seams where cells meet between pixels.
      const double extra = c + 1 < row.size() ? 0.4 : 0;
      canvas.rect({left + cell * static_cast<double>(c), y, cell + extra, kRow - 3},
                  heat(largest > 0 ? row[c] / largest : 0));
    }
  }
  const double below = top + kRow * static_cast<double>(map.rows.size()) + 16;
  canvas.text({left, below}, map.x_title, {kLabelSize, kInk});
  const double scale = 120, right = area.right();
  const std::string most = value_text(largest, map.unit);
  const double bar = right - text_width(most, kLabelSize) - 6 - scale;
  for (int i = 0; i < 24; ++i)
    canvas.rect({bar + scale / 24 * i, below - 10, scale / 24 + 0.4, 12}, heat(i / 23.0));
  canvas.text({bar - 6, below}, "0", {kLabelSize, kMuted, Anchor::end});
  canvas.text({right, below}, most, {kLabelSize, kMuted, Anchor::end});
}

void draw(Canvas& canvas, const BarChart& bars, const Rect& area) {
  canvas.text({area.x, area.y + 16}, bars.title, {kHeadingSize, kInk, Anchor::start, true});
  double low = INFINITY, high = 0;
  for (const double value : bars.values) {
    if (!std::isfinite(value) || (bars.log && value <= 0)) continue;
    low = std::min(low, value);
    high = std::max(high, value);
  }
  if (!std::isfinite(low)) low = high = 0;
  const Axis axis = bars.log ? Axis::logarithmic(low / 2, high, bars.unit)
                             : Axis::linear(0, high, bars.unit, 6, high > 0 ? 0 : 1);
  const double left = area.x + label_width(bars.names), top = area.y + 32;
  const double width = std::max(10.0, area.right() - left - 70);  // room for the value behind the longest bar
  const size_t rows = std::min(bars.names.size(), bars.values.size());
  const double bottom = top + kRow * static_cast<double>(rows);
  for (const Tick& tick : axis.ticks()) {
    const double x = left + width * axis.share(tick.value);
    canvas.line({x, top}, {x, bottom}, {kGrid, 1, {}});
    canvas.text({x, bottom + 14}, tick.label, {kLabelSize, kMuted, Anchor::middle});
  }
  for (size_t r = 0; r < rows; ++r) {
    const double y = top + kRow * static_cast<double>(r), value = bars.values[r];
    canvas.text({left - 8, y + kRow / 2 + 3}, bars.names[r], {kLabelSize, kMuted, Anchor::end});
    const bool shown = std::isfinite(value) && (!bars.log || value > 0);
    const double length = shown ? width * std::clamp(axis.share(value), 0.0, 1.0) : 0;
    canvas.rect({left, y + 2, length, kRow - 7}, palette(0));
    canvas.text({left + length + 6, y + kRow / 2 + 3}, value_text(value, bars.unit), {kLabelSize});
  }
  canvas.text({left, bottom + 34}, bars.x_title, {kLabelSize, kInk});
}

}  // namespace d2dmoe::report
