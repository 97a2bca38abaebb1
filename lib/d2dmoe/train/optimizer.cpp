#include "d2dmoe/train/optimizer.h"

#include <torch/nn/module.h>

#include <cmath>

#include "d2dmoe/core/error.h"

namespace d2dmoe::train {
namespace {

constexpr std::string_view kLayers = "layers.";

/// Number of the layer that a parameter belongs to, or nothing outside the layers.
std::optional<int64_t> layer_of(const std::string& name) {
  if (!name.starts_with(kLayers)) return std::nullopt;
  return std::stoll(name.substr(kLayers.size()));
}

/// Share of the learning rate that each parameter has, by its name.
std::vector<double> layer_rates(const std::vector<std::string>& names, double decay) {
  int64_t layers = 0;
  for (const auto& name : names) layers = std::max(layers, layer_of(name).value_or(-1) + 1);
  std::vector<double> rates;
  for (const auto& name : names) {
    const auto layer = layer_of(name);
    const int64_t below = layer                             ? layers - *layer
                          : name.starts_with("embeddings.") ? layers + 1
                          : name.starts_with("norm.")       ? 1
                                                            : 0;
    rates.push_back(std::pow(decay, static_cast<double>(below)));
  }
  return rates;
}

}  // namespace

Optimizer::Optimizer(torch::nn::Module& module, const config::OptimizerOptions& options) : options_(options) {
  const bool adam = options.name == "adamw" || options.name == "adam";
  D2D_CHECK(adam || options.name == "sgd", "[train] 'optimizer.name': got '{}', must be adamw, adam or sgd",
            options.name);
  D2D_CHECK(options.betas.size() == 2, "[train] 'optimizer.betas': got {} numbers, must be 2",
            options.betas.size());
  for (const auto& item : module.named_parameters()) {
    const torch::Tensor& parameter = item.value();
    if (!parameter.requires_grad()) continue;
    const auto zeros = [&] { return torch::zeros_like(parameter, torch::MemoryFormat::Contiguous); };
    const bool momentum = adam || options.momentum != 0;
    slots_.push_back(
        {item.key(), parameter, momentum ? zeros() : torch::Tensor(), adam ? zeros() : torch::Tensor()});
  }
  D2D_CHECK(!slots_.empty(), "[train] 'model': has no trainable parameter");
  std::vector<std::string> names;
  for (const Slot& slot : slots_) names.push_back(slot.name);
  const auto rates = layer_rates(names, options.layer_decay);
  for (size_t i = 0; i < slots_.size(); ++i) slots_[i].rate = rates[i];
  step_ = torch::zeros({}, slots_.front().parameter.options().dtype(torch::kFloat32).requires_grad(false));
}

torch::Tensor Optimizer::gradient_norm() const {
  std::vector<torch::Tensor> gradients;
  for (const Slot& slot : slots_) {
    if (slot.parameter.grad().defined()) gradients.push_back(slot.parameter.grad());
  }
  if (gradients.empty()) return torch::zeros_like(step_);
  return at::linalg_vector_norm(at::stack(at::_foreach_norm(gradients)), 2);
}

void Optimizer::step(double lr, const torch::Tensor& norm) {
  const torch::NoGradGuard no_grad;
  std::map<std::pair<bool, double>, std::vector<Slot*>> groups;  // by what their update depends on
  for (Slot& slot : slots_) {
    if (slot.parameter.grad().defined()) groups[{slot.parameter.dim() > 1, slot.rate}].push_back(&slot);
  }
  std::optional<torch::Tensor> scale;  // the kernels divide gradients by it
  if (options_.clip_norm > 0) scale = ((norm + 1e-6) / options_.clip_norm).clamp_min(1.0);
  step_.add_(1);
  for (const auto& [group, slots] : groups) {
    const auto& [decays, rate] = group;
    update(slots, decays ? options_.weight_decay : 0, lr * rate, scale);
  }
}

void Optimizer::update(const std::vector<Slot*>& slots, double decay, double lr,
                       const std::optional<torch::Tensor>& scale) {
  std::vector<torch::Tensor> parameters, gradients, first, second;
  for (const Slot* slot : slots) {
    parameters.push_back(slot->parameter);
    gradients.push_back(slot->parameter.grad());
    if (slot->first.defined()) first.push_back(slot->first);
    if (slot->second.defined()) second.push_back(slot->second);
  }
  if (options_.name == "sgd") {
    const bool first_step = step_.item<float>() == 1;
    at::_fused_sgd_(parameters, gradients, first, decay, options_.momentum, lr, /*dampening=*/0,
                    /*nesterov=*/false,
                    /*maximize=*/false, first_step, scale);
    return;
  }
  const std::vector<torch::Tensor> steps(slots.size(), step_);
  if (options_.name == "adamw") {
    at::_fused_adamw_(parameters, gradients, first, second, {}, steps, lr, options_.betas[0],
                      options_.betas[1], decay, options_.eps, /*amsgrad=*/false, /*maximize=*/false, scale);
  } else {
    at::_fused_adam_(parameters, gradients, first, second, {}, steps, lr, options_.betas[0],
                     options_.betas[1], decay, options_.eps, /*amsgrad=*/false, /*maximize=*/false, scale);
  }
}

void Optimizer::zero_grad() {
  for (Slot& slot : slots_) slot.parameter.mutable_grad() = torch::Tensor();
}

std::map<std::string, torch::Tensor> Optimizer::state() const {
  const bool sgd = options_.name == "sgd";
  std::map<std::string, torch::Tensor> state = {{"step", step_}};
  for (const Slot& slot : slots_) {
    if (slot.first.defined()) state[(sgd ? "momentum." : "exp_avg.") + slot.name] = slot.first;
    if (slot.second.defined()) state["exp_avg_sq." + slot.name] = slot.second;
  }
  return state;
}

void Optimizer::load_state(const std::map<std::string, torch::Tensor>& state) {
  const torch::NoGradGuard no_grad;
  for (auto& [name, tensor] : this->state()) {
    const auto found = state.find(name);
    D2D_CHECK(found != state.end(), "[train] '{}': the checkpoint has no such optimiser state", name);
    D2D_CHECK(found->second.sizes() == tensor.sizes(),
              "[train] '{}': the checkpoint's optimiser state is {}, must be {}", name, found->second.sizes(),
              tensor.sizes());
    torch::Tensor(tensor).copy_(found->second);
  }
}

}  // namespace d2dmoe::train
