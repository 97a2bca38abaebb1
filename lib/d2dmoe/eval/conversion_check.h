#pragma once

#include "d2dmoe/data/dataset.h"
#include "d2dmoe/models/model.h"

namespace d2dmoe::eval {

/// How far a converted model with every expert on is from the dense model.
struct ConversionError {
  double selection_all = 0;  ///< largest |difference| of the logits under the rule "all"
  double experts = 0;        ///< the same with every expert run by kernels::expert_mlp, one by one
  double scale = 0;          ///< largest |logit| of the dense model
  double worst() const;      ///< the larger of the two differences; NaN when one is
};

/// The examples on which conversions are looked at: the first 32, up to 1024 token rows together.
data::Batch conversion_batch(const data::Dataset& dataset, torch::Device device);

/// Runs `batch` with every expert on in both ways, in evaluation mode; the model's mode, layers and
/// selections come back.
/// @param dense_logits  of the dense model on `batch`, any device; undefined = of the converted model's own
///                      weights, run densely
ConversionError conversion_error(models::Model& model, const data::Batch& batch,
                                 const torch::Tensor& dense_logits = {});

/// How far rounding alone may move the logits of a model of this dtype, as a share of their size.
double conversion_tolerance(models::Model& model);

/// Compares the model with its own weights run densely, on the conversion_batch of `dataset`.
/// @throws Error  the difference is more than rounding in the model's dtype explains: nothing measured on
/// this model would mean anything
void check_conversion(models::Model& model, const data::Dataset& dataset, torch::Device device);

}  // namespace d2dmoe::eval
