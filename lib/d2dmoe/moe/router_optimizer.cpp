#include "d2dmoe/moe/router_optimizer.h"

#include <torch/types.h>

#include <cmath>

#include "d2dmoe/core/error.h"

namespace d2dmoe::moe {
namespace {

// Adam's usual constants (docs/method.md §4 gives the learning rate only).
constexpr double kBeta1 = 0.9, kBeta2 = 0.999, kEpsilon = 1e-8;
// Least mean squared norm of a row that RouterLoss::row divides by, in units where the mean norm is 1: rows
// below it matter to no one.
constexpr double kRowFloor = 1e-3;

}  // namespace

RouterLoss parse_router_loss(const std::string& name) {
  D2D_CHECK_USAGE(name == "mse" || name == "row",
                  "[routers] 'convert.router.loss': got '{}', must be mse or row", name);
  return name == "mse" ? RouterLoss::mse : RouterLoss::row;
}

torch::Tensor row_weights(const torch::Tensor& targets) {
  return targets.square().mean(1, /*keepdim=*/true).add_(kRowFloor).reciprocal_();
}

RouterLearner::RouterLearner(std::shared_ptr<Router> router, RouterLoss loss)
    : router_(std::move(router)), loss_(loss) {
  for (const auto& weight : router_->weights()) {
    mean_.push_back(torch::zeros_like(weight).requires_grad_(false));
    square_.push_back(torch::zeros_like(weight).requires_grad_(false));
  }
}

std::vector<torch::Tensor> RouterLearner::gradients(const torch::Tensor& x, const torch::Tensor& targets,
                                                    torch::Tensor& loss) const {
  torch::NoGradGuard no_grad;
  const auto& weights = router_->weights();
  const size_t depth = weights.size();
  std::vector<torch::Tensor> inputs = {x};  // of each layer
  torch::Tensor z;                          // [n, E] before the absolute value
  for (size_t i = 0; i < depth; ++i) {
    z = at::mm(inputs[i], weights[i].to(inputs[i].scalar_type()).t()).to(torch::kFloat32);
    if (i + 1 < depth) inputs.push_back(z.relu_());
  }
  auto delta = z.abs().sub_(targets);
  if (loss_ == RouterLoss::row) {
    const auto weight = row_weights(targets);
    loss = delta.square().mul_(weight).mean();
    delta.mul_(weight);
  } else {
    loss = delta.square().mean();
  }
  delta.mul_(z.sgn()).mul_(2.0 / static_cast<double>(delta.numel()));
  std::vector<torch::Tensor> gradients(depth);
  for (size_t i = depth; i-- > 0;) {
    gradients[i] = at::mm(delta.to(inputs[i].scalar_type()).t(), inputs[i]).to(torch::kFloat32);
    if (i > 0) delta = at::threshold_backward(at::mm(delta, weights[i]), inputs[i], 0);
  }
  return gradients;
}

torch::Tensor RouterLearner::step(const torch::Tensor& x, const torch::Tensor& targets, double lr) {
  torch::NoGradGuard no_grad;
  torch::Tensor loss;
  const auto grads = gradients(x, targets, loss);
  ++steps_;
  const double correction1 = 1 - std::pow(kBeta1, static_cast<double>(steps_));
  const double correction2 = 1 - std::pow(kBeta2, static_cast<double>(steps_));
  for (size_t i = 0; i < grads.size(); ++i) {
    mean_[i].lerp_(grads[i], 1 - kBeta1);
    square_[i].mul_(kBeta2).addcmul_(grads[i], grads[i], 1 - kBeta2);
    const auto scale = square_[i].sqrt().div_(std::sqrt(correction2)).add_(kEpsilon);
    torch::Tensor(router_->weights()[i]).addcdiv_(mean_[i], scale, -lr / correction1);
  }
  return loss;
}

void RouterLearner::save(const std::string& prefix, std::map<std::string, torch::Tensor>& tensors) const {
  for (size_t i = 0; i < mean_.size(); ++i) {
    const auto number = std::to_string(i);
    tensors[prefix + "weight" + number] = router_->weights()[i].detach();
    tensors[prefix + "mean" + number] = mean_[i];
    tensors[prefix + "square" + number] = square_[i];
  }
}

void RouterLearner::load(const std::string& prefix, const std::map<std::string, torch::Tensor>& tensors,
                         int64_t steps) {
  torch::NoGradGuard no_grad;
  const auto restore = [&](const std::string& name, torch::Tensor into) {
    const auto found = tensors.find(prefix + name);
    D2D_CHECK(found != tensors.end(), "[routers] checkpoint: has no '{}{}'", prefix, name);
    D2D_CHECK(found->second.sizes() == into.sizes(), "[routers] checkpoint: '{}{}' has shape {}, must be {}",
              prefix, name, found->second.sizes(), into.sizes());
    into.copy_(found->second);
  };
  for (size_t i = 0; i < mean_.size(); ++i) {
    const auto number = std::to_string(i);
    restore("weight" + number, router_->weights()[i]);
    restore("mean" + number, mean_[i]);
    restore("square" + number, square_[i]);
  }
  steps_ = steps;
}

}  // namespace d2dmoe::moe
