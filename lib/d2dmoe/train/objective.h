#pragma once

#include "d2dmoe/data/task.h"
#include "d2dmoe/models/model.h"

/// What training minimises, whatever the task: a model's output on a batch and the losses made of it.
namespace d2dmoe::train {

/// Runs the model as far as the losses need it.
/// @return  [B, C] scores; tasks of tokens: [N, D], LanguageModel::hidden
/// @throws UsageError  a task of tokens and a model that is no language model
torch::Tensor run(models::Model& model, const data::Batch& batch, nn::ForwardContext& ctx, data::Task task);

/// Mean task loss over the batch's examples, or over its counted tokens.
/// @param output  of run()
/// @return        scalar float32
torch::Tensor batch_loss(models::Model& model, const torch::Tensor& output, const data::Batch& batch,
                         data::Task task, double label_smoothing = 0);

/// Mean distillation loss (see distillation_loss), over the batch's examples or over its counted tokens.
/// @param output, target  of run() on the student and on the teacher; no gradient reaches the teacher
/// @return                scalar float32
torch::Tensor batch_distillation(models::Model& student, const torch::Tensor& output, models::Model& teacher,
                                 const torch::Tensor& target, const data::Batch& batch, data::Task task,
                                 double temperature);

}  // namespace d2dmoe::train
