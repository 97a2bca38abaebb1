#pragma once

#include <torch/nn/module.h>

#include <map>
#include <string>
#include <vector>

#include "d2dmoe/config/options.h"

namespace d2dmoe::train {

/// AdamW, Adam or SGD with momentum over a module's parameters, by LibTorch's fused multi-tensor kernels (CPU
/// and CUDA). Weight decay acts on matrices and tables (embeddings too); one-dimensional parameters (biases,
/// norm weights) have none, as in the Hugging Face Trainer. A parameter without a gradient is left alone.
/// With layer_decay d, the parameters of layer i of L ("layers.i.…") learn at d^(L - i) of the rate, the
/// embeddings at d^(L + 1), the norm behind the layers as the last of them, and the head at the full rate, as
/// in timm.
class Optimizer {
 public:
  /// @throws Error  unknown optimiser name
  Optimizer(torch::nn::Module& module, const config::OptimizerOptions& options);

  /// L2 norm over all gradients: scalar float32 on the parameters' device (no synchronisation).
  torch::Tensor gradient_norm() const;
  /// One update.
  /// @param lr    learning rate of this step
  /// @param norm  gradient_norm(); gradients are scaled by clip_norm / (norm + 1e-6) when that is below 1
  void step(double lr, const torch::Tensor& norm);
  /// Drops the gradients, so that the next backward pass writes instead of adds.
  void zero_grad();

  /// Moments by parameter name ("exp_avg.<name>", "exp_avg_sq.<name>" or "momentum.<name>") and "step".
  std::map<std::string, torch::Tensor> state() const;
  /// @throws Error  a moment is missing or of another shape
  void load_state(const std::map<std::string, torch::Tensor>& state);

 private:
  struct Slot {
    std::string name;
    torch::Tensor parameter, first, second;
    double rate = 1;  // share of the learning rate
  };
  void update(const std::vector<Slot*>& slots, double decay, double lr,
              const std::optional<torch::Tensor>& scale);

  config::OptimizerOptions options_;
  std::vector<Slot> slots_;
  torch::Tensor step_;  // scalar float32: updates done, as the fused kernels want it
};

}  // namespace d2dmoe::train
