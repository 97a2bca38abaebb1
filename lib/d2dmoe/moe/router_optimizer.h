#pragma once

#include <map>

#include "d2dmoe/moe/router.h"

namespace d2dmoe::moe {

/// What a router minimises.
enum class RouterLoss {
  mse,  ///< the mean squared error
  row,  ///< each row's squared error divided by its mean squared norm: selection compares experts within a
        ///< row, so a token of small norms counts as much as one of large norms
};
RouterLoss parse_router_loss(const std::string& name);  ///< a name of config::kRouterLosses

/// The weight of each row's squared error under RouterLoss::row.
/// @param targets  [n, E], in a unit where their mean is about 1
/// @return         [n, 1]
torch::Tensor row_weights(const torch::Tensor& targets);

/// Trains one router with Adam. Gradients are written out by hand: two or three
/// products per layer and nothing else, with no graph to build per step.
class RouterLearner {
 public:
  explicit RouterLearner(std::shared_ptr<Router> router, RouterLoss loss = RouterLoss::mse);

  /// One step.
  /// @param x        [n, D] float32, or bfloat16: the products of the first layer, most of the work, then run
  /// in that
  /// @param targets  [n, E] float32
  /// @return         the loss before the step: mean over n and E, a scalar tensor
  torch::Tensor step(const torch::Tensor& x, const torch::Tensor& targets, double lr);

  /// Gradients of the loss for each weight, as step() uses them.
  std::vector<torch::Tensor> gradients(const torch::Tensor& x, const torch::Tensor& targets,
                                       torch::Tensor& loss) const;

  const std::shared_ptr<Router>& router() const { return router_; }
  int64_t steps() const { return steps_; }

  /// Weights and Adam's moments under "<prefix>weight0", "<prefix>mean0", "<prefix>square0", …
  void save(const std::string& prefix, std::map<std::string, torch::Tensor>& tensors) const;
  /// @throws Error  a tensor is missing or of another shape
  void load(const std::string& prefix, const std::map<std::string, torch::Tensor>& tensors, int64_t steps);

 private:
  std::shared_ptr<Router> router_;
  RouterLoss loss_;
  std::vector<torch::Tensor> mean_, square_;  // Adam's moments
  int64_t steps_ = 0;
};

}  // namespace d2dmoe::moe
