#include "d2dmoe/report/canvas.h"

#include <array>
#include <cstdint>

#include "d2dmoe/core/format.h"

namespace d2dmoe::report {
namespace {

// Advance widths of DejaVu Sans in thousandths of the font size, for U+0020 … U+007E.
constexpr std::array<uint16_t, 95> kWidths = {
    318, 401, 460, 838, 636, 950, 780, 275, 390, 390, 500, 838, 318, 361,  318, 337, 636, 636, 636,
    636, 636, 636, 636, 636, 636, 636, 337, 337, 838, 838, 838, 531, 1000, 684, 686, 698, 770, 632,
    575, 775, 752, 295, 295, 656, 557, 863, 748, 787, 603, 787, 695, 635,  611, 732, 684, 989, 685,
    611, 685, 390, 337, 390, 838, 500, 500, 613, 635, 550, 635, 615, 352,  635, 634, 278, 278, 579,
    278, 974, 634, 612, 635, 635, 411, 521, 392, 634, 592, 818, 592, 592,  525, 636, 337, 636, 838};
constexpr double kOtherWidth = 640;  // of a character outside the table
constexpr double kBoldFactor = 1.11;

}  // namespace

Color palette(size_t index) {
  static const std::array<const char*, 7> colors = {"#0072b2", "#d55e00", "#009e73", "#cc79a7",
                                                    "#e69f00", "#56b4e9", "#7f7f7f"};
  return {colors[index % colors.size()], 1, format("series{}", index % colors.size())};
}

void Canvas::line(Point from, Point to, const Stroke& stroke) {
  const std::array<Point, 2> ends = {from, to};
  polyline(ends, stroke);
}

double text_width(std::string_view text, double size, bool bold) {
  double units = 0;
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if ((byte & 0xC0) == 0x80) continue;  // continues a character that was counted
    units += byte >= 32 && byte < 127 ? kWidths[byte - 32u] : kOtherWidth;
  }
  return units / 1000 * size * (bold ? kBoldFactor : 1);
}

}  // namespace d2dmoe::report
