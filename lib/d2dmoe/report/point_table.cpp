#include "d2dmoe/report/point_table.h"

#include <cmath>

#include "d2dmoe/core/format.h"
#include "d2dmoe/report/sweep_points.h"
#include "d2dmoe/report/value_text.h"

namespace d2dmoe::report {
namespace {

constexpr const char* kWithinNoise = "within noise of dense";

/// A selection's number; a calibrated point has one of each site instead.
std::string setting_text(const Json& point, const char* key, const char* per_site) {
  return member(point, per_site).is_object() ? "per site" : plain(number_of(point, key));
}

}  // namespace

Table point_table(const Json& dense, const Json& points, const std::vector<Json>& marked) {
  const std::string metric = metric_of(points);
  const std::vector<double> batches = timed_batches(points);
  std::vector<Column> columns = {{"rule", false},      {"value"},   {"floor"},
                                 {metric + " [95 %]"}, {"experts"}, {"FLOPs"}};
  for (const double batch : batches) columns.push_back({format("time, batch {}", batch)});
  for (const char* name : {kWithinNoise, "FLOPs, padded", "CLS8", "weight bytes", "empty rows"}) {
    columns.push_back({name});
  }
  Table table(columns);

  if (dense.is_object() && !dense.empty()) {
    std::vector<std::string> row = {"dense", "", "", quality_text(dense, metric), "", "100 %"};
    row.insert(row.end(), batches.size(), "100 %");
    row.insert(row.end(), {"", "100 %", "", "", ""});
    table.add_row(std::move(row));
  }
  const auto add = [&](const Json& point, const std::string& name) {
    std::vector<std::string> row = {name,
                                    setting_text(point, "value", "per_site_values"),
                                    setting_text(point, "floor", "per_site_floors"),
                                    quality_text(point, metric),
                                    percent(number_of(point, "executed_share"), 1),
                                    percent(number_of(point, "flops_share"), 1)};
    for (const double batch : batches) row.push_back(percent(time_ratio(point, batch), 0));
    row.push_back(within_noise_text(point));
    for (const char* key : {"flops_share_padded", "cls8", "weight_bytes_share", "empty_rows_share"}) {
      row.push_back(percent(number_of(point, key), 1));
    }
    table.add_row(std::move(row));
  };
  for (const Json& point : points) add(point, text_of(point, "rule", "dynamic_k"));
  for (const Json& point : marked) {
    if (point.is_object()) add(point, text_of(point, "label", "point"));
  }
  return table;
}

std::string point_table_remark() {
  return format(
      "Shares are of the dense model on the same batches; 1 multiply-accumulate = 2 FLOPs; time: median of "
      "alternating runs in one process. \"{}\": the 95 % interval of the score's difference to the dense "
      "model "
      "(bootstrap over the examples, the same ones drawn for both) holds 0; it does not say that the two are "
      "equal.",
      kWithinNoise);
}

Table csv_table(const Json& dense, const Json& points, const std::vector<Json>& marked) {
  const std::vector<double> batches = timed_batches(points);
  const std::vector<const char*> keys = {
      "score",           "loss", "executed_share",     "flops_share",     "flops_share_padded",
      "flops_per_token", "cls8", "weight_bytes_share", "empty_rows_share"};
  std::vector<Column> columns = {{"rule"}, {"value"}, {"floor"},       {"metric"},
                                 {"low"},  {"high"},  {"within_noise"}};
  for (const char* key : keys) columns.push_back({key});
  for (const double batch : batches) {
    for (const char* what : {"ratio", "p10", "p90", "dense_ms", "routed_ms"}) {
      columns.push_back({format("time_{}_batch_{}", what, batch)});
    }
  }
  Table table(columns);
  const auto cell = [](double value) { return std::isfinite(value) ? format("{}", value) : std::string(); };
  const auto add = [&](const Json& of, const std::string& rule, bool baseline) {
    const auto interval = interval_of(of);
    const Json& noise = member(of, "within_noise");
    std::vector<std::string> row = {rule,
                                    cell(number_of(of, "value")),
                                    cell(number_of(of, "floor")),
                                    text_of(of, "metric", metric_of(points)),
                                    interval ? cell(interval->first) : "",
                                    interval ? cell(interval->second) : "",
                                    !noise.is_boolean() ? ""
                                    : noise.get<bool>() ? "true"
                                                        : "false"};
    for (const char* key : keys) {
      const bool one =
          baseline && (std::string(key) == "flops_share" || std::string(key) == "flops_share_padded");
      row.push_back(one ? "1" : cell(number_of(of, key)));
    }
    for (const double batch : batches) {
      const Json* found = nullptr;
      for (const Json& entry : member(of, "time")) {
        if (number_of(entry, "batch") == batch) found = &entry;
      }
      for (const char* what : {"ratio", "p10", "p90", "dense_ms", "routed_ms"}) {
        row.push_back(found ? cell(number_of(*found, what)) : "");
      }
    }
    table.add_row(std::move(row));
  };
  if (dense.is_object() && !dense.empty()) add(dense, "dense", true);
  for (const Json& point : points) add(point, text_of(point, "rule", "dynamic_k"), false);
  for (const Json& point : marked) {
    if (point.is_object()) add(point, text_of(point, "label", "point"), false);
  }
  return table;
}

}  // namespace d2dmoe::report
