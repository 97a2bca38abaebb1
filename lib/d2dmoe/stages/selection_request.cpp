#include "d2dmoe/stages/selection_request.h"

#include "d2dmoe/config/names.h"
#include "d2dmoe/core/error.h"
#include "d2dmoe/eval/setting.h"
#include "d2dmoe/moe/expert_feed_forward.h"

namespace d2dmoe::stages {
namespace {

/// The rule "all" looks at neither value nor floor: whoever names one expects fewer experts than run.
void check_unused(const char* option, std::optional<double> number, const std::string& rule) {
  D2D_CHECK_USAGE(!number,
                  "[selection] '--{} {}': the rule \"all\" runs every expert and has no {}. Hint: {}", option,
                  number.value_or(0), option,
                  rule.empty() ? "name another rule with --rule" : "leave it out, or name another rule");
}

}  // namespace

std::optional<moe::Selection> requested_selection(const std::string& rule, std::optional<double> value,
                                                  std::optional<double> floor, models::Model& model) {
  if (rule.empty() && !value && !floor) return std::nullopt;
  moe::Selection selection;
  bool routed = false;
  for (nn::Site* site : model.sites()) {
    if (auto* experts = moe::as_experts(*site)) {
      if (!routed) selection = experts->selection();
      routed = true;
    }
  }
  D2D_CHECK_USAGE(routed,
                  "[selection] --rule, --value and --floor need a converted model; this one is dense");
  if (!rule.empty()) {
    std::vector<std::string> known;
    for (const auto& choice : config::kRules) known.emplace_back(choice.name);
    D2D_CHECK_USAGE(std::find(known.begin(), known.end(), rule) != known.end(),
                    "[selection] '--rule {}': no such rule{}", rule,
                    nearest_hint(rule, known, "docs/config.md lists them"));
    D2D_CHECK_USAGE(value || rule == "all", "[selection] '--rule {}': needs --value (tau, p or k)", rule);
    selection.rule = rule;
  }
  if (selection.rule == "all") {
    check_unused("value", value, rule);
    check_unused("floor", floor, rule);
  }
  if (value) selection.value = *value;
  if (floor) selection.floor = *floor;
  check_selection_of_sites("[selection] '--rule, --value and --floor'", model, selection);
  return selection;
}

void check_selection_of(const std::string& place, const nn::SiteId& site, const moe::Selection& selection,
                        int64_t routed) {
  try {
    moe::check_selection(selection, routed);
  } catch (const Error& error) {
    throw UsageError(format("{}: {} (site '{}')", place, error.what(), site.name));
  }
}

void check_selection_of_sites(const std::string& place, models::Model& model,
                              const moe::Selection& selection) {
  for (const auto& site : eval::converted_sites(model))
    check_selection_of(place, site.id, selection, site.layer->routed());
}

}  // namespace d2dmoe::stages
