#pragma once

#include <torch/types.h>

#include <functional>

#include <string>
#include <vector>

#include "d2dmoe/data/dataset.h"
#include "d2dmoe/eval/setting.h"

namespace d2dmoe::eval {

/// Scores of a sample of tokens, so that the cost of any selection is known without running the model again.
class ScoreSample {
 public:
  /// Runs the model under dynamic_k with tau 0 (every expert whose score is above 0) on sentences drawn from
  /// `dataset` until about `tokens` token rows are seen.
  /// @param oracle  sample the true norms instead of the routers' output
  ScoreSample(models::Model& model, const data::Dataset& dataset, bool oracle, int64_t tokens, uint64_t seed,
              torch::Device device);

  int64_t sites() const { return static_cast<int64_t>(sites_.size()); }
  double mean_score(int64_t site) const;  ///< over tokens and routed experts
  int64_t least_routed_experts() const;   ///< of the site that has the fewest
  /// Share of the experts of one site that the selection runs.
  double executed_share(int64_t site, const moe::Selection& selection) const;
  /// Over all sites, weighted by their widths: an affine function of the model's FLOPs.
  double executed_share(const moe::Selection& selection) const;

 private:
  struct SiteScores {
    torch::Tensor scores;  // [N, E - shared]
    double mean_norm = 0, width = 0;
    int64_t experts = 0;
  };
  std::vector<SiteScores> sites_;
};

/// The rule's values from the cheapest that runs an expert to the most expensive.
struct ValueRange {
  double cheapest = 0, dearest = 0;
  bool whole = false;  ///< values are whole numbers
};
/// @throws UsageError  the rule has no value ("all") or is unknown
ValueRange value_range(const std::string& rule, int64_t experts);

/// The value whose executed share is nearest to `share`, found by bisection: cost is monotone in the value.
/// @param executed_share  of a selection
double value_for_share(const moe::Selection& selection, const ValueRange& range, double share,
                       const std::function<double(const moe::Selection&)>& executed_share);

/// Values of a rule that lie evenly in cost, from the dearest to the cheapest; fewer than `points` where the
/// rule has no more (top_k).
std::vector<double> place_points(const ScoreSample& sample, const std::string& rule, double floor,
                                 int64_t points);

}  // namespace d2dmoe::eval
