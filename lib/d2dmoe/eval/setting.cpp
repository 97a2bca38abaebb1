#include "d2dmoe/eval/setting.h"

#include "d2dmoe/core/error.h"

namespace d2dmoe::eval {

std::vector<ConvertedSite> converted_sites(models::Model& model) {
  std::vector<ConvertedSite> sites;
  for (auto* site : model.sites()) {
    if (auto* layer = moe::as_experts(*site)) sites.push_back({site->id(), layer});
  }
  return sites;
}

Setting uniform_setting(models::Model& model, const moe::Selection& selection) {
  Setting setting;
  for (const auto& site : converted_sites(model)) setting[site.id.name] = selection;
  return setting;
}

Setting current_setting(models::Model& model) {
  Setting setting;
  for (const auto& site : converted_sites(model)) setting[site.id.name] = site.layer->selection();
  return setting;
}

void apply_setting(models::Model& model, const Setting& setting) {
  for (const auto& site : converted_sites(model)) {
    const auto it = setting.find(site.id.name);
    D2D_CHECK(it != setting.end(), "[setting] '{}': this converted site has no selection", site.id.name);
    site.layer->selection() = it->second;
  }
}

}  // namespace d2dmoe::eval
