#pragma once

#include <string>
#include <vector>

#include "d2dmoe/report/json_access.h"
#include "d2dmoe/report/table.h"

namespace d2dmoe::report {

/// The points for people: percentages with their intervals.
/// @param dense   the baseline, the first row; may be empty
/// @param points  array of points as in points.jsonl; what a point lacks is a dash
/// @param marked  points beside the sweep's, by their "label", the last rows; nulls are left out
Table point_table(const Json& dense, const Json& points, const std::vector<Json>& marked = {});
/// What the columns of point_table mean, in sentences that stand below it.
std::string point_table_remark();

/// The points for programs, with full precision: what point_table shows, the loss, the FLOPs per token, and
/// of each timed batch size the ratio's p10 and p90 and the milliseconds. points.jsonl has the rest
/// (difference to dense, figures per site, weight bytes per token, decoding).
Table csv_table(const Json& dense, const Json& points, const std::vector<Json>& marked = {});

}  // namespace d2dmoe::report
