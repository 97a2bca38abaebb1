#include "d2dmoe/train/step_losses.h"

#include <torch/types.h>

#include "d2dmoe/train/objective.h"
#include "d2dmoe/train/precision.h"

namespace d2dmoe::train {

StepLosses::StepLosses(const TrainJob& job, const config::PenaltyOptions& penalty, torch::ScalarType dtype)
    : job_(job), dtype_(dtype) {
  if (penalty.name != "none") penalty_.emplace(penalty.name, penalty.displacement);
}

torch::Tensor StepLosses::backward(const data::Batch& batch, const PartWeight& weight, double alpha,
                                   const moe::Selection* selection,
                                   const std::vector<nn::Observer*>& watchers) {
  nn::ForwardContext ctx(batch);
  ctx.selection = selection;
  ctx.observers = watchers;
  if (has_penalty()) {
    penalty_->reset();
    ctx.observers.push_back(&*penalty_);
  }
  if (has_features()) {
    ours_.reset();
    ctx.observers.push_back(&ours_);
  }

  torch::Tensor loss, task, penalty, distillation, features;
  {
    const AutocastScope autocast(job_.device, dtype_);
    const torch::Tensor output = train::run(*job_.model, batch, ctx, job_.data.task);
    task = batch_loss(*job_.model, output, batch, job_.data.task, job_.options.label_smoothing);
    loss = task * weight.share;
    if (job_.teacher) {
      const torch::Tensor target = teacher_output(batch);
      const auto& distill = *job_.distill;
      distillation = batch_distillation(*job_.model, output, *job_.teacher, target, batch, job_.data.task,
                                        distill.temperature);
      loss = ((1 - distill.lambda) * task + distill.lambda * distillation) * weight.share;
      if (has_features()) {
        features = feature_distance(ours_, theirs_) * weight.token_share;
        loss = loss + distill.features * features;
      }
    }
    if (has_penalty()) {
      penalty = penalty_->mean().to(torch::kFloat32) * weight.token_share;
      loss = loss + alpha * penalty;
    }
  }
  loss.backward();
  ours_.reset(), theirs_.reset();  // no longer needed, and large
  const auto value = [&](const torch::Tensor& t, double factor) {
    return t.defined() ? t.detach().reshape({1}) * factor
                       : torch::zeros({1}, loss.options().requires_grad(false));
  };
  return at::cat({value(loss, 1), value(task, weight.share), value(penalty, 1),
                  value(distillation, weight.share), value(features, 1)});
}

/// The teacher's output, and its hidden states where they are wanted.
torch::Tensor StepLosses::teacher_output(const data::Batch& batch) {
  const torch::NoGradGuard no_grad;
  nn::ForwardContext ctx(batch);
  if (has_features()) {
    theirs_.reset();
    ctx.observers.push_back(&theirs_);
  }
  return train::run(*job_.teacher, batch, ctx, job_.data.task);
}

std::vector<double> StepLosses::site_penalties() const {
  std::vector<double> values;
  if (!has_penalty()) return values;
  for (const auto& value : penalty_->per_site())
    values.push_back(value.defined() ? value.item<double>() : 0.0);
  return values;
}

}  // namespace d2dmoe::train
