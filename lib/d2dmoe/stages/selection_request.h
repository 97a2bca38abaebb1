#pragma once

#include <optional>
#include <string>

#include "d2dmoe/models/model.h"
#include "d2dmoe/moe/selection.h"

namespace d2dmoe::stages {

/// The selection that a command line asks for (--rule, --value, --floor), which overrides what the folder
/// holds.
/// @return  nullopt when nothing was asked for
/// @throws UsageError  an unknown rule (names the nearest); a value or floor outside the rule's range, or of
///                     the rule "all", which has none; a dense model
std::optional<moe::Selection> requested_selection(const std::string& rule, std::optional<double> value,
                                                  std::optional<double> floor, models::Model& model);

/// @param place        begins the message: what asked for the selection
/// @param routed       experts of the site that are not shared
/// @throws UsageError  the selection does not suit so many experts: names the site
void check_selection_of(const std::string& place, const nn::SiteId& site, const moe::Selection& selection,
                        int64_t routed);

/// The same for every converted site of a model.
void check_selection_of_sites(const std::string& place, models::Model& model,
                              const moe::Selection& selection);

}  // namespace d2dmoe::stages
