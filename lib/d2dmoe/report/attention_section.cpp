#include <cmath>

#include "d2dmoe/core/format.h"
#include "d2dmoe/report/html_text.h"
#include "d2dmoe/report/json_access.h"
#include "d2dmoe/report/sections.h"
#include "d2dmoe/report/table.h"
#include "d2dmoe/report/value_text.h"

namespace d2dmoe::report {
namespace {

std::string attention_value(const Json& measured, const char* key) {
  const double value = number_of(measured, key);
  return std::isfinite(value) ? format("{:.4f}", value) : "–";
}

/// What the replacement alone did to the start model.
std::string replacement_table(const Runs& runs) {
  Table table({{"run", false},
               {"metric", false},
               {"with the projections"},
               {"with perceptrons"},
               {"difference"},
               {"loss before"},
               {"loss after"},
               {"FLOPs of the perceptrons"}});
  for (const RunData& run : runs) {
    const StageData* stage = run.stage("train_sparse");
    if (stage == nullptr) continue;
    const Json& attention = member(stage->result, "attention");
    if (!attention.is_object()) continue;
    const Json &before = member(attention, "before"), &after = member(attention, "after");
    const double difference = number_of(after, "value") - number_of(before, "value");
    table.add_row({run.name, text_of(attention, "metric"), attention_value(before, "value"),
                   attention_value(after, "value"),
                   std::isfinite(difference) ? format("{:+.4f}", difference) : "–",
                   attention_value(before, "loss"), attention_value(after, "loss"),
                   percent(number_of(attention, "flops_ratio"), 1)});
  }
  return table.empty() ? "" : table.html();
}

std::string projections_table(const Json& attention) {
  Table table(
      {{"projection", false}, {"inputs"}, {"neurons"}, {"outputs"}, {"FLOPs"}, {"lost variance"}, {"zeros"}});
  for (const Json& entry : member(attention, "projections")) {
    const auto size = [&](const char* key) {
      const double value = number_of(entry, key);
      return std::isfinite(value) ? format("{:.0f}", value) : std::string("–");
    };
    table.add_row({text_of(entry, "site"), size("d_in"), size("width"), size("d_out"),
                   percent(number_of(entry, "flops_ratio"), 1), percent(number_of(entry, "unexplained"), 1),
                   percent(number_of(entry, "zeros"), 1)});
  }
  return table.empty() ? "" : table.html();
}

}  // namespace

std::string attention_section(const Runs& runs) {
  std::string out = replacement_table(runs);
  if (out.empty()) return "";
  out = paragraph(
            "Validation data, the model that stage 1 starts from: its attention projections, and trained "
            "two-layer "
            "perceptrons in their places before any fine-tuning.") +
        out;
  for (const RunData& run : runs) {
    const StageData* stage = run.stage("train_sparse");
    if (stage == nullptr) continue;
    const auto table = projections_table(member(stage->result, "attention"));
    if (!table.empty()) out += details(run.name + ": each projection", table);
  }
  return section("Attention projections as perceptrons", out);
}

}  // namespace d2dmoe::report
