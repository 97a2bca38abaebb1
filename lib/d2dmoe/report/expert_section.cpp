#include <algorithm>
#include <cmath>

#include "d2dmoe/core/format.h"
#include "d2dmoe/report/curve.h"
#include "d2dmoe/report/html_text.h"
#include "d2dmoe/report/sections.h"
#include "d2dmoe/report/value_text.h"

namespace d2dmoe::report {
namespace {

std::vector<double> numbers_of(const Json& list) {
  std::vector<double> values;
  for (const Json& item : list) values.push_back(number_of(item));
  return values;
}

/// Per site the use of its experts, most used first, from an object of lists.
Heatmap use_map(const std::string& title, const std::vector<std::pair<std::string, Json>>& sites) {
  Heatmap map;
  map.title = title;
  map.x_title = "experts of a site, most used first; colour: share of tokens";
  for (const auto& [name, use] : sites) {
    std::vector<double> values = numbers_of(use);
    for (double& value : values) value = std::isfinite(value) ? value : 0;
    std::sort(values.rbegin(), values.rend());
    if (values.empty()) continue;
    map.rows.push_back(name);
    map.values.push_back(std::move(values));
  }
  return map;
}

std::string map_figure(const std::string& name, const Heatmap& map) {
  if (map.rows.empty()) return "";
  const double height = height_for_rows(map.rows.size());
  return figure(name + ": " + map.title, kPageWidth, height, [&](Canvas& canvas) {
    draw(canvas, map, {0, 0, kPageWidth, height});
  });
}

/// "layers.3.ffn" → how its experts were used in the point.
std::string point_use(const RunData& run, const Json& point) {
  std::vector<std::pair<std::string, Json>> sites;
  const Json& use = member(point, "expert_use");
  if (use.is_object()) {
    for (const auto& [site, list] : use.items()) sites.emplace_back(site, list);
  }
  const std::string at =
      format("{} {}", text_of(point, "rule", "dynamic_k"), plain(number_of(point, "value")));
  std::string out = map_figure(run.name, use_map("Expert use at " + at, sites));
  BarChart bars;
  bars.title = "Executed experts per site at " + at;
  bars.x_title = "executed experts (% of the site's)";
  bars.unit = Unit::percent;
  const Json& shares = member(point, "executed_share_per_site");
  if (shares.is_object()) {
    for (const auto& [site, share] : shares.items()) {
      bars.names.push_back(site);
      bars.values.push_back(number_of(share));
    }
  }
  if (bars.names.empty()) return out;
  const double height = height_for_rows(bars.names.size()) + 6;
  return out + figure(run.name + ": " + bars.title, kPageWidth, height, [&](Canvas& canvas) {
           draw(canvas, bars, {0, 0, kPageWidth, height});
         });
}

}  // namespace

std::string expert_section(const Runs& runs) {
  std::string out;
  for (const RunData& run : runs) {
    std::string one;
    if (const StageData* sweep = run.stage("sweep_tau"); sweep && !sweep->points.empty()) {
      const int64_t headline = headline_point(sweep->dense, sweep->points);
      one += point_use(run, sweep->points[headline < 0 ? 0 : static_cast<size_t>(headline)]);
    }
    if (const StageData* convert = run.stage("convert"); convert && one.empty()) {
      std::vector<std::pair<std::string, Json>> sites;
      for (const Json& site : member(convert->conversion, "sites")) {
        sites.emplace_back(text_of(site, "site"), member(site, "expert_use"));
      }
      one += map_figure(run.name, use_map("Experts with an output, on calibration tokens", sites));
    }
    if (!one.empty()) out += heading(run.name) + one;
  }
  return section("Expert use", out);
}

}  // namespace d2dmoe::report
