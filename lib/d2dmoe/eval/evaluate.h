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
  torch::Tensor logits;  ///< [n, C] float32 cpu
  torch::Tensor labels;  ///< [n] float64 cpu
  double loss =
      0;  ///< mean task loss (cross-entropy, or mean squared error for regression); 0 without labels
  int64_t tokens = 0;
  double seconds = 0;
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

/// Loss of every example: cross-entropy, or the squared error when there is one output (regression).
/// @param logits  [n, C]
/// @param labels  [n] float64
/// @return        [n] float64
torch::Tensor task_losses(const torch::Tensor& logits, const torch::Tensor& labels);

/// Runs the model in evaluation mode (its own mode comes back afterwards) without gradients, batches sorted
/// by length.
/// @throws Error  no examples; the head does not fit the task or the labels
Predictions evaluate(models::Model& model, const data::Dataset& dataset, bool regression,
                     const EvaluateOptions& options);

}  // namespace d2dmoe::eval
