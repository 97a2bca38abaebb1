#include "d2dmoe/report/compute_map.h"

#include <algorithm>
#include <array>
#include <cmath>

#include "d2dmoe/core/format.h"
#include "d2dmoe/report/html_text.h"
#include "d2dmoe/report/png_canvas.h"
#include "d2dmoe/report/svg_canvas.h"

namespace d2dmoe::report {
namespace {

constexpr int64_t kTileSize = 224;  // pixels of a tile's longer side, about
constexpr double kOpacity = 0.65;   // of a patch's colour over the grey picture
constexpr int64_t kLegendWidth = 256, kLegendHeight = 12;

using Rgb = std::array<double, 3>;

/// Viridis (matplotlib), which people with any colour vision read. @param at  0 … 1
Rgb viridis(double at) {
  static const std::array<Rgb, 6> stops = {
      {{68, 1, 84}, {65, 68, 135}, {42, 120, 142}, {34, 168, 132}, {122, 209, 81}, {253, 231, 37}}};
  const double place = std::clamp(at, 0.0, 1.0) * static_cast<double>(stops.size() - 1);
  const size_t low = std::min(static_cast<size_t>(place), stops.size() - 2);
  const double part = place - static_cast<double>(low);
  Rgb out;
  for (size_t c = 0; c < 3; ++c) out[c] = stops[low][c] * (1 - part) + stops[low + 1][c] * part;
  return out;
}

uint8_t blended(double color, double grey) {
  return static_cast<uint8_t>(std::lround(kOpacity * color + (1 - kOpacity) * grey));
}

int64_t enlargement(const data::Image& image) {
  return std::max<int64_t>(1, kTileSize / std::max(image.height, image.width));
}

/// Every pixel as a square of `factor` pixels.
data::Image enlarged(const data::Image& image, int64_t factor) {
  data::Image out(image.height * factor, image.width * factor, image.channels);
  for (int64_t y = 0; y < out.height; ++y)
    for (int64_t x = 0; x < out.width; ++x)
      std::copy_n(image.row(y / factor) + x / factor * image.channels, image.channels,
                  out.row(y) + x * image.channels);
  return out;
}

double largest_share(const ModelMaps& model) {
  double most = 0;
  for (const auto& map : model.maps)
    for (const auto& tile : map.tiles)
      for (const double experts : tile.experts) most = std::max(most, experts / tile.of);
  return most > 0 ? most : 1;
}

double mean(const std::vector<double>& values) {
  double sum = 0;
  for (const double value : values) sum += value;
  return values.empty() ? 0 : sum / static_cast<double>(values.size());
}

std::string tile_html(const data::Image& image, const std::string& title, const std::string& note) {
  return "<figure class=\"tile\">" + picture(encode_png(image), title) + "<figcaption><b>" +
         xml_escaped(title) + "</b><br>" + xml_escaped(note) + "</figcaption></figure>\n";
}

std::string map_html(const ComputeMap& map, double most) {
  std::string out = "<h4>" + xml_escaped(map.name) + "</h4>\n<div class=\"tiles\">\n";
  out += tile_html(enlarged(map.image, enlargement(map.image)), "the picture", map.answer);
  for (const auto& tile : map.tiles) {
    out += tile_html(
        draw_map(map, tile, most), tile.name,
        format("a patch runs {:.1f} of {:.0f} experts ({:.0f} to {:.0f}), the class token {:.0f}",
               mean(tile.experts), tile.of, *std::min_element(tile.experts.begin(), tile.experts.end()),
               *std::max_element(tile.experts.begin(), tile.experts.end()), tile.special));
  }
  return out + "</div>\n";
}

/// The colours from no expert to `most` of them, as they look over a middling grey.
std::string legend(double most) {
  data::Image scale(kLegendHeight, kLegendWidth, 3);
  for (int64_t x = 0; x < kLegendWidth; ++x) {
    const Rgb color = viridis(static_cast<double>(x) / (kLegendWidth - 1));
    for (int64_t y = 0; y < kLegendHeight; ++y)
      for (size_t c = 0; c < 3; ++c) scale.row(y)[3 * x + static_cast<int64_t>(c)] = blended(color[c], 128);
  }
  return "<p class=\"scale\">no expert " + picture(encode_png(scale), "scale of the colours") +
         format(" {:.1f} % of a layer's experts</p>\n", 100 * most);
}

}  // namespace

data::Image draw_map(const ComputeMap& map, const MapTile& tile, double most) {
  const auto grid = map.geometry.grid(map.image.height, map.image.width);
  const auto grey = data::with_channels(map.image, 1);
  data::Image out(grey.height, grey.width, 3);
  for (int64_t y = 0; y < grey.height; ++y)
    for (int64_t x = 0; x < grey.width; ++x) {
      const int64_t row = y / map.geometry.patch_height, column = x / map.geometry.patch_width;
      const double light = grey.row(y)[x];
      uint8_t* pixel = out.row(y) + 3 * x;
      if (row >= grid.rows || column >= grid.columns) {  // no part of a patch
        std::fill_n(pixel, 3, grey.row(y)[x]);
        continue;
      }
      const auto patch = static_cast<size_t>(row * grid.columns + column);
      const Rgb color = viridis(tile.experts.at(patch) / tile.of / most);
      for (size_t c = 0; c < 3; ++c) pixel[c] = blended(color[c], light);
    }
  return enlarged(out, enlargement(out));
}

std::string maps_section(const std::vector<ModelMaps>& models) {
  std::string out;
  for (const auto& model : models) {
    const double most = largest_share(model);
    out += "<h3>" + xml_escaped(model.model) + "</h3>\n" +
           paragraph("How many experts each patch of a picture ran (" + model.setting + ").") + legend(most);
    for (const auto& map : model.maps) out += map_html(map, most);
  }
  return section("Compute maps", out);
}

}  // namespace d2dmoe::report
