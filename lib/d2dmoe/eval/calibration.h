#pragma once

#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "d2dmoe/core/error.h"
#include "d2dmoe/data/dataset.h"
#include "d2dmoe/eval/evaluate.h"
#include "d2dmoe/eval/setting.h"

namespace d2dmoe::eval {

struct CalibrationOptions {
  std::string rule = "dynamic_k";
  std::vector<double> floors = {0};  ///< candidates
  std::optional<double> budget;      ///< FLOPs at most this share of the dense model's
  /// At most so many points worse than `dense_score` (config::points_worse), and than the model with all
  /// experts.
  std::optional<double> max_drop;
  /// That max_drop holds on other data of the same kind too: what is lost of the dense and of the
  /// all-experts model counts with its upper bound of this confidence (points_worse_at_most); 0.5 = as
  /// measured.
  double confidence = 0.5;
  std::string metric = "accuracy";
  double dense_score = 0;              ///< the dense baseline's metric on the same validation data
  const Predictions* dense = nullptr;  ///< its predictions there; nullptr: no margin against it
  int64_t steps = 6;                   ///< values tried per site and floor
  int64_t sample_sentences = 256;      ///< on which one site's damage is measured
  int64_t sample_tokens = 16384;       ///< language modelling: of these, windows with so many counted tokens
  int64_t batch_size = 64;
  uint64_t seed = 0;
  torch::Device device = torch::kCPU;
};

/// What was asked for is beyond this model, whatever the setting.
struct OutOfReach : UsageError {
  using UsageError::UsageError;
};

struct Calibration {
  Setting setting;
  double score = 0;          ///< of the metric, on the validation data
  double flops_share = 1;    ///< on the validation data
  double drop = 0;           ///< points below dense_score
  double margin = 0;         ///< max_drop: points that the drop may be larger by, for the confidence
  double margin_to_all = 0;  ///< the same for what is lost of the all-experts model
  int64_t evaluations = 0;   ///< of the whole validation data
};

/// The validation examples on which one site's damage is measured: drawn by the seed, questions whole.
data::Dataset calibration_sample(const data::Dataset& validation, const CalibrationOptions& options);

/// Chooses a selection per site on held-out data.
///
/// Every site's damage (KL of the predicted classes from the all-experts model, squared difference for
/// regression, change of the windows' loss for language modelling) is measured alone at a few values of the
/// rule and of the floor, which gives a convex curve of damage over cost per site; the curves' segments in
/// the order of damage per FLOP saved are the Lagrangian path from all experts to the fewest. The point of
/// the path is then found by measuring the whole model on the whole validation data, so that the budget or
/// the bound really holds there. For a bound the noise of single measurements is smoothed by isotonic_fit,
/// and the paired noise between a setting and the dense, or all-experts, model is a margin.
/// @param validation  data that was not trained on and is not the data reported on
/// @throws UsageError  not exactly one of budget and max_drop; a budget below the cheapest setting: names
/// what
///                     can be reached
/// @throws OutOfReach  a bound that even the all-experts model misses
/// @ref docs/method.md §6
Calibration calibrate(models::Model& model, const data::Dataset& validation,
                      const CalibrationOptions& options);

}  // namespace d2dmoe::eval
