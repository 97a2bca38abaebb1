#pragma once

#include "d2dmoe/data/dataset.h"
#include "d2dmoe/models/model.h"

namespace d2dmoe::eval {

/// How far a converted model with every expert on is from its own weights run densely.
struct ConversionError {
  double selection_all = 0;  ///< largest |difference| of the logits under the rule "all"
  double experts = 0;        ///< the same with every expert run by kernels::expert_mlp, one by one
  double scale = 0;          ///< largest |logit|
};

/// Runs the first batch of `dataset` (up to `sentences` long) in the three ways.
ConversionError conversion_error(models::Model& model, const data::Dataset& dataset, int64_t sentences,
                                 torch::Device device);

/// @throws Error  the difference is more than rounding in the model's dtype explains: nothing measured on
/// this model would mean anything
void check_conversion(models::Model& model, const data::Dataset& dataset, torch::Device device);

}  // namespace d2dmoe::eval
