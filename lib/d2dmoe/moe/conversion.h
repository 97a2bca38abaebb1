#pragma once

#include "d2dmoe/cluster/split.h"
#include "d2dmoe/config/options.h"
#include "d2dmoe/models/model.h"
#include "d2dmoe/moe/expert_feed_forward.h"

namespace d2dmoe::moe {

/// The sites that an experiment converts: those of `layers` and `kinds` (empty = all).
/// @throws UsageError  a layer or a kind of site that the model does not have; a site that is converted
/// already
std::vector<nn::Site*> chosen_sites(models::Model& model, const config::ConvertOptions& options);

/// Number of experts of a site by the options: attention projections have keys of their own.
/// @throws UsageError  it does not divide the site's neurons
int64_t experts_of(const config::ConvertOptions& options, const nn::SiteId& site, int64_t hidden);
/// The router of a site of this kind.
config::RouterOptions router_of(const config::ConvertOptions& options, nn::SiteKind kind);

/// Puts an ExpertFeedForward with a fresh router into a dense site: the same function, neurons in expert
/// order. The dense layer is released.
/// @param split_name  a name of config::kSplits, kept as the origin
/// @param seed        of the router's first weights
/// @return            the new layer, selection "all"
ExpertFeedForward& convert_site(nn::Site& site, const cluster::Split& split, const std::string& split_name,
                                const config::RouterOptions& router, uint64_t seed);

}  // namespace d2dmoe::moe
