#pragma once

#include <map>
#include <string>
#include <vector>

#include "d2dmoe/models/model.h"
#include "d2dmoe/moe/expert_feed_forward.h"

namespace d2dmoe::eval {

/// The selection of every converted site, by site name: one point of the cost-quality plane.
using Setting = std::map<std::string, moe::Selection>;

/// A converted site of a model with its layer.
struct ConvertedSite {
  nn::SiteId id;
  moe::ExpertFeedForward* layer = nullptr;
};
/// In the order of the forward pass; empty for a dense model.
std::vector<ConvertedSite> converted_sites(models::Model& model);

/// The same selection everywhere.
Setting uniform_setting(models::Model& model, const moe::Selection& selection);
Setting current_setting(models::Model& model);
/// @throws Error  a converted site has no entry
void apply_setting(models::Model& model, const Setting& setting);

/// A setting in force for the life of the object; the one before comes back.
class ScopedSetting {
 public:
  ScopedSetting(models::Model& model, const Setting& setting)
      : model_(model), before_(current_setting(model)) {
    apply_setting(model, setting);
  }
  ~ScopedSetting() { apply_setting(model_, before_); }
  ScopedSetting(const ScopedSetting&) = delete;
  ScopedSetting& operator=(const ScopedSetting&) = delete;

 private:
  models::Model& model_;
  Setting before_;
};

}  // namespace d2dmoe::eval
