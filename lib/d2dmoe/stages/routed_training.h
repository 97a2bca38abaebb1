#pragma once

#include "d2dmoe/config/options.h"
#include "d2dmoe/data/dataset.h"
#include "d2dmoe/models/model.h"
#include "d2dmoe/moe/selection.h"

/// What is particular to fine-tuning a converted model with its routing on.
namespace d2dmoe::stages {

/// Freezes the routers, and gives every converted site the selection that validations run at; with an empty
/// tau_range each keeps its own.
/// @throws UsageError  a value that a site cannot have (k above its experts)
void prepare_routed(models::Model& model, const config::RoutedTrainOptions& options);

/// The selection of an optimiser step, of the seed alone, so that a resumed run draws the same.
/// @param options  with a tau_range
moe::Selection drawn_selection(const config::RoutedTrainOptions& options, uint64_t seed, int64_t step);

/// Measures every site's mean predicted norm again: the floor is relative to it, and training changed it.
void refresh_mean_norms(models::Model& model, const data::Dataset& train, uint64_t seed,
                        torch::Device device);

}  // namespace d2dmoe::stages
