#include "d2dmoe/eval/evaluate.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <optional>

#include "d2dmoe/core/error.h"
#include "d2dmoe/core/progress.h"
#include "d2dmoe/core/seconds_since.h"
#include "d2dmoe/core/signals.h"
#include "d2dmoe/data/batch_loader.h"

namespace d2dmoe::eval {

torch::Tensor task_losses(const torch::Tensor& logits, const torch::Tensor& labels, data::Task task) {
  const auto scores = logits.to(torch::kFloat64);
  const auto losses =
      task == data::Task::regression
          ? (scores.select(1, 0) - labels).square()
          : -scores.log_softmax(1).gather(1, labels.to(torch::kInt64).unsqueeze(1)).select(1, 0);
  return losses;
}

namespace {

using data::Task;

/// Hands every batch to `take`, which runs the model on it.
/// @return  token rows
int64_t run_batches(const data::Dataset& dataset, const EvaluateOptions& options,
                    const std::function<void(const data::Batch&, nn::ForwardContext&)>& take) {
  std::optional<Progress> progress;
  if (!options.progress.empty()) progress.emplace(options.progress, dataset.size(), dataset.unit());
  int64_t tokens = 0;
  data::BatchLoader loader(dataset, data::epoch_batches(dataset, options.batch_size, /*shuffle=*/false, 0, 0),
                           {.threads = dataset.loader_threads()});
  while (auto loaded = loader.next()) {
    if (stop_requested())
      throw Interrupted("[evaluate] stopped: what was finished before is kept, the same command goes on");
    const auto batch = loaded->to(options.device);
    if (options.on_batch) options.on_batch(batch);
    nn::ForwardContext context(batch);
    context.selection = options.selection;
    context.observers = options.observers;
    take(batch, context);
    tokens += batch.tokens();
    if (progress) progress->advance(batch.size());
  }
  return tokens;
}

/// [n] float64 of each example.
template <class Value>
torch::Tensor of_examples(const data::Dataset& dataset, Value value) {
  std::vector<double> values(static_cast<size_t>(dataset.size()));
  for (size_t i = 0; i < values.size(); ++i) values[i] = static_cast<double>(value(static_cast<int64_t>(i)));
  return torch::tensor(values, torch::kFloat64);
}

/// Class scores or a number per example.
void evaluate_examples(models::Model& model, const data::Dataset& dataset, const EvaluateOptions& options,
                       Predictions& out) {
  const bool regression = out.task == Task::regression;
  D2D_CHECK_USAGE(
      model.language_model() == nullptr,
      "[evaluate] 'model': is a language model, the task {} needs a classifier. Hint: set data.task "
      "to language_modeling or multiple_choice",
      data::task_name(out.task));
  out.tokens = run_batches(dataset, options, [&](const data::Batch& batch, nn::ForwardContext& context) {
    const auto logits = model.forward(batch, context).to(torch::kCPU, torch::kFloat32);  // [B, C]
    if (!out.logits.defined()) out.logits = torch::empty({dataset.size(), logits.size(1)});
    out.logits.index_copy_(0, torch::tensor(batch.rows, torch::kInt64), logits);
  });
  D2D_CHECK(regression == (out.logits.size(1) == 1),
            "[evaluate] 'model': its head has {} outputs, the task is {}. Hint: was the model trained on "
            "this task?",
            out.logits.size(1), regression ? "regression (1 output)" : "classification (2 or more)");
  if (out.labels.isnan().any().item<bool>()) return;
  D2D_CHECK(regression || out.labels.max().item<double>() < static_cast<double>(out.logits.size(1)),
            "[evaluate] 'dataset': holds class id {}, the model's head has {} classes",
            out.labels.max().item<double>(), out.logits.size(1));
  out.losses = task_losses(out.logits, out.labels, out.task);
  out.loss = out.losses.mean().item<double>();
}

/// Each example's loss, summed over its counted tokens.
void evaluate_tokens(models::Model& model, const data::Dataset& dataset, const EvaluateOptions& options,
                     Predictions& out) {
  auto* lm = model.language_model();
  D2D_CHECK_USAGE(
      lm != nullptr,
      "[evaluate] 'model': is a classifier, the task {} needs a language model. Hint: set data.task to "
      "classification or regression",
      data::task_name(out.task));
  out.losses = torch::empty({dataset.size()}, torch::kFloat64);
  out.counts = of_examples(dataset, [&](int64_t row) { return dataset.counted(row); });
  out.bytes = of_examples(dataset, [&](int64_t row) { return dataset.bytes(row); });
  out.tokens = run_batches(dataset, options, [&](const data::Batch& batch, nn::ForwardContext& context) {
    const auto losses =
        lm->losses(lm->hidden(batch, context), batch.targets).to(torch::kCPU, torch::kFloat64);
    const auto parts = losses.split_with_sizes(batch.lengths);
    for (size_t b = 0; b < parts.size(); ++b) out.losses[batch.rows[b]] = parts[b].sum();
  });
  out.loss = out.losses.sum().item<double>() / out.counts.sum().item<double>();
}

/// The answers of each question that is there as a whole, from one loss per answer.
void group_answers(const data::Dataset& dataset, Predictions& out) {
  std::vector<std::vector<int64_t>> questions;
  for (int64_t row = 0; row < dataset.size(); ++row) {
    if (row == 0 || dataset.group(row) != dataset.group(row - 1)) questions.emplace_back();
    questions.back().push_back(row);
  }
  std::erase_if(questions, [&](const std::vector<int64_t>& rows) {
    return static_cast<int64_t>(rows.size()) < dataset.group_size(rows.front());
  });
  D2D_CHECK(!questions.empty(), "[evaluate] 'dataset': holds no question with all its answers");
  size_t answers = 0;
  for (const auto& rows : questions) answers = std::max(answers, rows.size());
  const auto count = static_cast<int64_t>(questions.size());
  out.logits = torch::full({count, static_cast<int64_t>(answers)}, -INFINITY);
  out.normalized = out.logits.clone();
  out.labels = torch::empty({count}, torch::kFloat64);
  for (int64_t q = 0; q < count; ++q) {
    const auto& rows = questions[static_cast<size_t>(q)];
    out.labels[q] = dataset.label(rows.front());
    for (size_t a = 0; a < rows.size(); ++a) {
      const double likelihood = -out.losses[rows[a]].item<double>();
      const auto characters = static_cast<double>(std::max<int64_t>(1, dataset.characters(rows[a])));
      out.logits[q][static_cast<int64_t>(a)] = likelihood;
      out.normalized[q][static_cast<int64_t>(a)] = likelihood / characters;
    }
  }
  out.losses = task_losses(out.logits, out.labels, Task::classification);
  out.loss = out.losses.mean().item<double>();
  out.counts = out.bytes = torch::Tensor();
}

}  // namespace

Predictions evaluate(models::Model& model, const data::Dataset& dataset, const EvaluateOptions& options) {
  D2D_CHECK(!dataset.empty(), "[evaluate] 'dataset': has no examples, must have at least one");
  const auto start = std::chrono::steady_clock::now();
  const torch::NoGradGuard no_grad;
  const EvaluationMode mode(model);
  Predictions out;
  out.task = dataset.task();
  out.labels = of_examples(dataset, [&](int64_t row) { return dataset.label(row); });
  if (data::is_of_tokens(out.task)) {
    evaluate_tokens(model, dataset, options, out);
    if (out.task == Task::multiple_choice) group_answers(dataset, out);
  } else {
    evaluate_examples(model, dataset, options, out);
  }
  out.seconds = seconds_since(start);
  return out;
}

}  // namespace d2dmoe::eval
