#pragma once

#include <torch/types.h>

#include "d2dmoe/data/task.h"

namespace d2dmoe::train {

/// Mean task loss: cross-entropy, or mean squared error for regression. Computed in float32.
/// @param logits           [B, C]; regression: [B, 1]
/// @param labels           [B] int64 class ids, [B, C] float32 shares of the classes (mixed images), or
///                         regression's [B] float32 targets
/// @param label_smoothing  in [0, 1): share of the target spread evenly over the classes
/// @return                 scalar float32
/// @throws Error  regression with label smoothing
torch::Tensor task_loss(const torch::Tensor& logits, const torch::Tensor& labels, data::Task task,
                        double label_smoothing = 0);

/// Distillation: T^2 * KL(softmax(teacher/T) || softmax(student/T)), mean over the batch, so that its
/// gradient does not shrink with T; for regression the mean squared difference of the outputs.
/// @param student, teacher  [B, C]
/// @param temperature       T > 0
torch::Tensor distillation_loss(const torch::Tensor& student, const torch::Tensor& teacher, data::Task task,
                                double temperature);

}  // namespace d2dmoe::train
