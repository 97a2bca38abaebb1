#include "d2dmoe/train/loss.h"

#include <torch/types.h>

#include "d2dmoe/core/error.h"

namespace d2dmoe::train {

torch::Tensor task_loss(const torch::Tensor& logits, const torch::Tensor& labels, data::Task task,
                        double label_smoothing) {
  const auto scores = logits.to(torch::kFloat32);
  if (task == data::Task::regression) {
    D2D_CHECK(label_smoothing == 0, "[train] 'label_smoothing': got {}, must be 0 for regression",
              label_smoothing);
    return at::mse_loss(scores.squeeze(-1), labels.to(torch::kFloat32));
  }
  return at::cross_entropy_loss(scores, labels, {}, at::Reduction::Mean, -100, label_smoothing);
}

torch::Tensor distillation_loss(const torch::Tensor& student, const torch::Tensor& teacher, data::Task task,
                                double temperature) {
  const auto ours = student.to(torch::kFloat32), theirs = teacher.to(torch::kFloat32);
  if (task == data::Task::regression) return at::mse_loss(ours, theirs);
  const auto log_p = at::log_softmax(ours / temperature, -1),
             log_q = at::log_softmax(theirs / temperature, -1);
  return (log_q.exp() * (log_q - log_p)).sum(-1).mean() * (temperature * temperature);
}

}  // namespace d2dmoe::train
