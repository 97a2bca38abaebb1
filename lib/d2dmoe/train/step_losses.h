#pragma once

#include <torch/types.h>

#include <optional>
#include <vector>

#include "d2dmoe/sparsity/penalty.h"
#include "d2dmoe/train/feature_distillation.h"
#include "d2dmoe/train/trainer.h"

namespace d2dmoe::train {

/// What a part of an optimiser step's batch (a micro-batch) weighs in it.
struct PartWeight {
  double share = 1;        ///< of what the step's loss counts
  double token_share = 1;  ///< of its token rows
};

/// Everything that a step minimises: the task's loss, distillation of classes and hidden states from the
/// teacher, the sparsity penalty.
class StepLosses {
 public:
  /// @param penalty  options of the penalty, name "none" for none
  /// @param dtype    of autocast
  StepLosses(const TrainJob& job, const config::PenaltyOptions& penalty, torch::ScalarType dtype);

  /// Adds the gradients of a part of the step. With their weights, the parts' gradients add up to those of
  /// the whole.
  /// @param alpha     of the penalty, now
  /// @param selection of the student's experts; nullptr = its sites' own
  /// @param watchers  further observers of the student's forward pass
  /// @return  [5] float32: loss, task loss, penalty, distillation, feature distance, weighted as parts of the
  ///          step; 0 for a term that is off
  torch::Tensor backward(const data::Batch& batch, const PartWeight& weight, double alpha,
                         const moe::Selection* selection, const std::vector<nn::Observer*>& watchers);

  bool has_penalty() const { return penalty_.has_value(); }
  bool has_features() const { return job_.teacher && job_.distill->features > 0; }
  /// The last part's penalty of each site, by site index; 0 where none was seen.
  std::vector<double> site_penalties() const;

 private:
  torch::Tensor teacher_output(const data::Batch& batch);

  const TrainJob& job_;
  const torch::ScalarType dtype_;
  std::optional<sparsity::PenaltyObserver> penalty_;
  FeatureObserver ours_, theirs_;  // of the student and of the teacher
};

}  // namespace d2dmoe::train
