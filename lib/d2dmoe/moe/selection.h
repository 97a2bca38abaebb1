#pragma once

#include <torch/types.h>

#include <string>

namespace d2dmoe::moe {

/// A selection rule with its parameter.
/// @ref METHOD.md §6
struct Selection {
  std::string rule = "dynamic_k";  ///< a name of config::kRules
  double value = 0;                ///< tau (dynamic_k), p (cumulative), k (top_k)
  double floor = 0;                ///< c: an expert also needs R_e >= c * mean_norm; 0 = the paper's rule
  bool oracle() const { return rule.rfind("oracle_", 0) == 0; }
  bool operator==(const Selection&) const = default;
};

/// Marks, per token row, the experts that run.
/// @param scores     [N, E] float32, >= 0: router output, or the true norms for oracle rules
/// @param mean_norm  mean predicted norm of the site on calibration data (for the floor)
/// @return           [N, E] bool, same device. An expert with score 0 never runs (except under "all"); a row may be
///                   empty
/// @throws Error  scores not 2-D float32; value outside the rule's range or NaN
torch::Tensor select(const torch::Tensor& scores, const Selection& selection, double mean_norm);

}  // namespace d2dmoe::moe
