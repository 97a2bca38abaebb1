#pragma once

#include <filesystem>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "d2dmoe/report/plot.h"

namespace d2dmoe::report {

/// Writes what a sweep measured: curve.svg, curve.png, curve.csv and table.md.
/// @param dense   the baseline: {"score", "interval", "loss", "flops_per_token", "time"}
/// @param points  array of points as in points.jsonl; what a point lacks is left out
/// @param marked  points beside the sweep's, by their "label": every expert on, calibrated; nulls are left
/// out
/// @throws Error  the folder cannot be written
void write_curve(const std::filesystem::path& dir, const nlohmann::ordered_json& dense,
                 const nlohmann::ordered_json& points,
                 const std::vector<nlohmann::ordered_json>& marked = {});

/// One sweep of a picture.
struct Curve {
  std::string name;
  nlohmann::ordered_json dense;                     ///< may be empty
  nlohmann::ordered_json points;                    ///< array
  std::vector<nlohmann::ordered_json> marked = {};  ///< single points with a "label"; nulls are left out
};

/// Quality by executed experts, and by the cost of the whole model: FLOPs, and for a single sweep time as
/// well.
std::vector<LineChart> curve_charts(const std::vector<Curve>& curves);
/// Quality by measured time, one line per sweep and batch size.
LineChart time_chart(const std::vector<Curve>& curves);
/// Draws charts side by side (below each other where it is narrow) with one remark under them.
void draw_charts(Canvas& canvas, std::vector<LineChart> charts, const std::string& remark, double width,
                 double height);

/// The point that speaks for a sweep: the cheapest one at most one point (config::points_worse: 0.01 of a
/// share or a loss, 1 % of a perplexity) worse than dense; -1 when there is none.
int64_t headline_point(const nlohmann::ordered_json& dense, const nlohmann::ordered_json& points);

/// What the picture's bands and markers mean, and how many points lie below its axis.
std::string curve_remark(const std::vector<Curve>& curves);

}  // namespace d2dmoe::report
