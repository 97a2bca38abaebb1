#include "d2dmoe/eval/evaluate.h"

#include <chrono>
#include <cmath>
#include <optional>

#include "d2dmoe/core/error.h"
#include "d2dmoe/core/progress.h"
#include "d2dmoe/core/signals.h"

namespace d2dmoe::eval {

torch::Tensor task_losses(const torch::Tensor& logits, const torch::Tensor& labels, data::Task task) {
  const auto scores = logits.to(torch::kFloat64);
  const auto losses =
      task == data::Task::regression
          ? (scores.select(1, 0) - labels).square()
          : -scores.log_softmax(1).gather(1, labels.to(torch::kInt64).unsqueeze(1)).select(1, 0);
  return losses;
}

Predictions evaluate(models::Model& model, const data::Dataset& dataset, const EvaluateOptions& options) {
  const int64_t n = dataset.size();
  const bool regression = dataset.task() == data::Task::regression;
  D2D_CHECK(n > 0, "[evaluate] 'dataset': has no examples, must have at least one");
  const auto start = std::chrono::steady_clock::now();
  const torch::NoGradGuard no_grad;
  const EvaluationMode mode(model);

  Predictions out;
  out.task = dataset.task();
  std::vector<double> labels(static_cast<size_t>(n));
  bool labelled = true;
  for (size_t i = 0; i < labels.size(); ++i) {
    labels[i] = dataset.label(static_cast<int64_t>(i));
    labelled = labelled && !std::isnan(labels[i]);
  }
  out.labels = torch::tensor(labels, torch::kFloat64);

  std::optional<Progress> progress;
  if (!options.progress.empty()) progress.emplace(options.progress, n, "sentences");
  for (const auto& rows : data::epoch_batches(dataset, options.batch_size, /*shuffle=*/false, 0, 0)) {
    if (stop_requested())
      throw Interrupted("[evaluate] stopped: what was finished before is kept, the same command goes on");
    const auto batch = dataset.collate(rows).to(options.device);
    if (options.on_batch) options.on_batch(batch);
    nn::ForwardContext context(batch);
    context.selection = options.selection;
    context.observers = options.observers;
    const auto logits = model.forward(batch, context).to(torch::kCPU, torch::kFloat32);  // [B, C]
    if (!out.logits.defined()) out.logits = torch::empty({n, logits.size(1)});
    out.logits.index_copy_(0, torch::tensor(rows, torch::kInt64), logits);
    out.tokens += batch.tokens();
    if (progress) progress->advance(batch.size());
  }
  D2D_CHECK(regression == (out.logits.size(1) == 1),
            "[evaluate] 'model': its head has {} outputs, the task is {}. Hint: was the model trained on "
            "this task?",
            out.logits.size(1), regression ? "regression (1 output)" : "classification (2 or more)");
  if (labelled) {
    D2D_CHECK(regression || out.labels.max().item<double>() < static_cast<double>(out.logits.size(1)),
              "[evaluate] 'dataset': holds class id {}, the model's head has {} classes",
              out.labels.max().item<double>(), out.logits.size(1));
    out.losses = task_losses(out.logits, out.labels, out.task);
    out.loss = out.losses.mean().item<double>();
  }
  out.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  return out;
}

}  // namespace d2dmoe::eval
