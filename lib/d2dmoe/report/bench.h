#pragma once

#include <filesystem>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "d2dmoe/report/plot.h"

/// What `d2dmoe bench` measured, for people. The JSON is that of stages/bench.h.
namespace d2dmoe::report {

/// Lines of an aligned table for a terminal: the layer with the heads of the columns, and one point.
std::string bench_heading(const nlohmann::ordered_json& layer);
std::string bench_line(const nlohmann::ordered_json& point);
/// The same for the whole model: one line per batch size of a point.
std::string bench_model_heading(const nlohmann::ordered_json& model);
std::string bench_model_lines(const nlohmann::ordered_json& point);
/// The machine and its measured peaks.
std::string bench_machine_text(const nlohmann::ordered_json& result);

/// The whole result as Markdown: the machine, the formulas, a table per layer and one of the model.
std::string bench_markdown(const nlohmann::ordered_json& result);

/// Time over that of the dense layer by executed share, one chart per layer and one of the whole model, each
/// with the diagonal and a band of ten points above it: full lines are the whole layer, broken ones the
/// kernel alone.
std::vector<LineChart> bench_charts(const nlohmann::ordered_json& result);

/// Writes bench.json, bench.md, bench.svg and bench.png.
/// @throws Error  the folder cannot be written
void write_bench(const std::filesystem::path& dir, const nlohmann::ordered_json& result);

}  // namespace d2dmoe::report
