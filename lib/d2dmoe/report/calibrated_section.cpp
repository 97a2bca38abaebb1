#include <cmath>

#include "d2dmoe/config/metric_units.h"
#include "d2dmoe/core/format.h"
#include "d2dmoe/report/html_text.h"
#include "d2dmoe/report/sections.h"
#include "d2dmoe/report/sweep_points.h"
#include "d2dmoe/report/table.h"
#include "d2dmoe/report/value_text.h"

namespace d2dmoe::report {
namespace {

/// What the user asked for: sweep_tau.budget or sweep_tau.max_drop.
std::string goal_text(const StageData& sweep) {
  const double budget = number_of(sweep.calibrated, "budget");
  if (std::isfinite(budget)) {
    return format("The least damage found with at most {} of the dense model's FLOPs (budget {:.4g}).",
                  percent(budget, 1), budget);
  }
  const double drop = number_of(sweep.calibrated, "max_drop");
  if (!std::isfinite(drop)) return "";
  std::string text = format(
      "The fewest FLOPs found with at most {:.4g} point(s) lost, of the dense model and of the one with all "
      "experts (max_drop {:.4g}",
      drop, drop);
  const double confidence = number_of(member(sweep.config, "sweep_tau"), "max_drop_confidence");
  if (std::isfinite(confidence)) text += format(", max_drop_confidence {:.4g}", confidence);
  text += ").";
  const double margin = number_of(member(sweep.calibrated, "validation"), "margin_points");
  if (margin > 0)
    text += format(" For the confidence {:.2f} points were added to what is lost of dense.", margin);
  return text;
}

/// "+0.20": of a share in points.
std::string signed_text(double difference, const std::string& metric) {
  if (!std::isfinite(difference)) return "–";
  return (difference > 0 ? "+" : "") + config::metric_text(metric, difference, /*unit=*/false);
}

std::string difference_text(const Json& point, const std::string& metric) {
  std::string text = signed_text(number_of(point, "difference"), metric);
  if (const auto interval = interval_of(point, "difference_interval")) {
    text += format(" [{}, {}]", signed_text(interval->first, metric), signed_text(interval->second, metric));
  }
  return text;
}

/// The setting as it was measured, and on the data on which it was chosen.
std::string measured_table(const StageData& sweep) {
  const Json& point = sweep.calibrated;
  const std::string metric = text_of(point, "metric", metric_of(sweep.points));
  Table table({{"measured on", false},
               {metric + " [95 %]"},
               {"minus dense [95 %]"},
               {"within noise of dense"},
               {"experts"},
               {"FLOPs"}});
  if (std::isfinite(number_of(point, "score"))) {
    table.add_row({text_of(sweep.result, "split", "test"), quality_text(point, metric),
                   difference_text(point, metric), within_noise_text(point),
                   percent(number_of(point, "executed_share"), 1),
                   percent(number_of(point, "flops_share"), 1)});
  }
  const Json& chosen = member(point, "validation");
  if (chosen.is_object()) {
    table.add_row({"validation, where it was chosen", quality_text(chosen, metric),
                   signed_text(number_of(chosen, "score") - number_of(chosen, "dense_score"), metric), "–",
                   "–", percent(number_of(chosen, "flops_share"), 1)});
  }
  return table.empty() ? "" : table.html();
}

/// Only dynamic-k calls its number tau; "all" has none.
bool is_tau(const std::string& rule) {
  return rule == "dynamic_k" || rule == "oracle_dynamic_k" || rule == "all";
}

std::string sites_table(const Json& calibrated) {
  const Json& values = member(calibrated, "per_site_values");
  const Json& rules = member(calibrated, "per_site_rules");
  const Json& floors = member(calibrated, "per_site_floors");
  const Json& shares = member(calibrated, "executed_share_per_site");
  if (!values.is_object() || values.empty()) return "";
  const std::string usual = text_of(calibrated, "rule", "dynamic_k");
  bool taus = true;
  for (const auto& [site, value] : values.items()) taus &= is_tau(text_of(rules, site.c_str(), usual));
  Table table({{"site", false}, {"rule", false}, {taus ? "tau" : "value"}, {"floor"}, {"experts"}});
  for (const auto& [site, value] : values.items()) {
    const std::string rule = text_of(rules, site.c_str(), usual);
    const bool all = rule == "all";  // has neither a value nor a floor
    table.add_row({site, rule, all ? "–" : plain(number_of(value)),
                   all ? "–" : plain(number_of(floors, site.c_str())),
                   percent(number_of(shares, site.c_str()), 1)});
  }
  return table.html();
}

}  // namespace

std::string calibrated_section(const Runs& runs) {
  std::string out;
  for (const RunData& run : runs) {
    const StageData* sweep = run.stage("sweep_tau");
    if (!sweep || !sweep->calibrated.is_object()) continue;
    const std::string measured = measured_table(*sweep), sites = sites_table(sweep->calibrated);
    if (measured.empty() && sites.empty()) continue;
    out += heading(run.name);
    if (const std::string goal = goal_text(*sweep); !goal.empty()) out += paragraph(goal);
    if (!std::isfinite(number_of(sweep->calibrated, "score")))
      out += paragraph("The sweep has not finished: chosen, but not measured yet.");
    out += measured + sites;
  }
  if (out.empty()) return "";
  return section(
      "Calibrated setting",
      paragraph("One value of the selection rule per site, chosen on validation data and saved into "
                "the converted folder's d2dmoe.json. Differences of percentages are in points.") +
          out);
}

}  // namespace d2dmoe::report
