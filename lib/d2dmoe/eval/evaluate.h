#pragma once

#include <torch/types.h>

#include <functional>
#include <string>
#include <vector>

#include "d2dmoe/data/dataset.h"
#include "d2dmoe/models/model.h"
#include "d2dmoe/moe/selection.h"

namespace d2dmoe::eval {

/// Evaluation mode for the life of the object; the mode before comes back, whatever happens between.
class EvaluationMode {
 public:
  explicit EvaluationMode(torch::nn::Module& module) : module_(module), was_training_(module.is_training()) {
    module_.eval();
  }
  ~EvaluationMode() { module_.train(was_training_); }
  EvaluationMode(const EvaluationMode&) = delete;
  EvaluationMode& operator=(const EvaluationMode&) = delete;

 private:
  torch::nn::Module& module_;
  bool was_training_;
};

/// What a model says about a data set, in the order of its examples.
struct Predictions {
  data::Task task = data::Task::classification;
  torch::Tensor logits;      ///< [n, C] float32 cpu; undefined for language_modeling; multiple_choice: the
                             ///< answers' log-likelihoods, -inf beyond a question's last
  torch::Tensor normalized;  ///< multiple_choice: [n, C], each divided by its answer's characters
  torch::Tensor labels;      ///< [n] float64 cpu; NaN where unknown
  torch::Tensor losses;  ///< [n] float64 cpu: each example's task loss (language_modeling: summed over its
                         ///< counted tokens); undefined when a label is unknown
  torch::Tensor counts;  ///< language_modeling: [n] float64, counted tokens
  torch::Tensor bytes;   ///< language_modeling: [n] float64, bytes of text that these stand for
  double loss = 0;       ///< mean task loss (per example, or per counted token); 0 without labels
  int64_t tokens = 0;
  double seconds = 0;
  int64_t size() const { return labels.size(0); }
};

struct EvaluateOptions {
  int64_t batch_size = 64;
  torch::Device device = torch::kCPU;
  const moe::Selection* selection = nullptr;  ///< overrides the sites' own
  std::vector<nn::Observer*> observers;
  std::string progress;  ///< title of a progress bar; empty = none
  /// Called with each batch before it runs (the ledger needs its lengths).
  std::function<void(const data::Batch&)> on_batch;
};

/// Loss of every example: cross-entropy, or the squared error (regression).
/// @param logits  [n, C]
/// @param labels  [n] float64
/// @return        [n] float64
torch::Tensor task_losses(const torch::Tensor& logits, const torch::Tensor& labels, data::Task task);

/// Runs the model in evaluation mode (its own mode comes back afterwards) without gradients, batches sorted
/// by length. multiple_choice: examples of the predictions are the questions whose answers are all there.
/// @throws Error  no examples; the head does not fit the task or the labels
Predictions evaluate(models::Model& model, const data::Dataset& dataset, const EvaluateOptions& options);

}  // namespace d2dmoe::eval
