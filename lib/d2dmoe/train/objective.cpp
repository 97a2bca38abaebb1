#include "d2dmoe/train/objective.h"

#include <torch/types.h>

#include "d2dmoe/core/error.h"
#include "d2dmoe/train/loss.h"

namespace d2dmoe::train {
namespace {

models::LanguageModel& language_model(models::Model& model, data::Task task) {
  auto* lm = model.language_model();
  D2D_CHECK_USAGE(
      lm != nullptr,
      "[config] 'data.task': is {}, which needs a language model; this {} model is a classifier. Hint: "
      "set data.task to classification or regression, or model.path to a causal language model",
      data::task_name(task), model.family());
  return *lm;
}

/// [N] float32 that sums to 1: each counted row's share of the mean.
torch::Tensor row_weights(const data::Batch& batch) {
  const auto counted = batch.targets.ne(data::kNoTarget).to(torch::kFloat32);
  return counted / counted.sum().clamp_min(1);
}

}  // namespace

torch::Tensor run(models::Model& model, const data::Batch& batch, nn::ForwardContext& ctx, data::Task task) {
  if (!data::is_of_tokens(task)) return model.forward(batch, ctx);
  return language_model(model, task).hidden(batch, ctx);
}

torch::Tensor batch_loss(models::Model& model, const torch::Tensor& output, const data::Batch& batch,
                         data::Task task, double label_smoothing) {
  if (!data::is_of_tokens(task)) return task_loss(output, batch.labels, task, label_smoothing);
  const auto losses = language_model(model, task).losses(output, batch.targets, label_smoothing);
  return (losses * row_weights(batch)).sum();
}

torch::Tensor batch_distillation(models::Model& student, const torch::Tensor& output, models::Model& teacher,
                                 const torch::Tensor& target, const data::Batch& batch, data::Task task,
                                 double temperature) {
  if (!data::is_of_tokens(task)) return distillation_loss(output, target, task, temperature);
  return language_model(student, task)
      .distillation(output, language_model(teacher, task), target, row_weights(batch), temperature);
}

}  // namespace d2dmoe::train
