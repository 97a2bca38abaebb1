#include "d2dmoe/nn/linear_cross_entropy.h"

#include <ATen/Functions.h>
#include <torch/csrc/autograd/custom_function.h>

#include <algorithm>

#include "d2dmoe/core/error.h"

namespace d2dmoe::nn {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

constexpr int64_t kIgnored = -100;  // as in PyTorch

torch::Tensor capped_logits(const torch::Tensor& hidden, const torch::Tensor& weight, double softcap) {
  const auto logits = at::linear(hidden, weight).to(torch::kFloat32);
  return softcap > 0 ? at::tanh(logits / softcap) * softcap : logits;
}

struct LinearCrossEntropy : torch::autograd::Function<LinearCrossEntropy> {
  static torch::Tensor forward(AutogradContext* ctx, const torch::Tensor& hidden, const torch::Tensor& weight,
                               const torch::Tensor& targets, double softcap, double smoothing,
                               int64_t chunk) {
    ctx->save_for_backward({hidden, weight, targets});
    ctx->saved_data["softcap"] = softcap;
    ctx->saved_data["smoothing"] = smoothing;
    ctx->saved_data["chunk"] = chunk;
    auto losses = torch::empty({hidden.size(0)}, hidden.options().dtype(torch::kFloat32));
    for (int64_t from = 0; from < hidden.size(0); from += chunk) {
      const int64_t rows = std::min(chunk, hidden.size(0) - from);
      const auto logits = capped_logits(hidden.narrow(0, from, rows), weight, softcap);
      losses.narrow(0, from, rows)
          .copy_(at::cross_entropy_loss(logits, targets.narrow(0, from, rows), {}, at::Reduction::None,
                                        kIgnored, smoothing));
    }
    return losses;
  }

  // d loss / d logit = p - target distribution; the cap's derivative is 1 - (capped / cap)^2.
  static variable_list backward(AutogradContext* ctx, const variable_list& grads) {
    const auto saved = ctx->get_saved_variables();
    const auto &hidden = saved[0], &weight = saved[1], &targets = saved[2];
    const double softcap = ctx->saved_data["softcap"].toDouble();
    const double smoothing = ctx->saved_data["smoothing"].toDouble();
    const int64_t chunk = ctx->saved_data["chunk"].toInt(), classes = weight.size(0);
    auto hidden_grad = at::empty_like(hidden), weight_grad = at::zeros_like(weight);
    for (int64_t from = 0; from < hidden.size(0); from += chunk) {
      const int64_t rows = std::min(chunk, hidden.size(0) - from);
      const auto x = hidden.narrow(0, from, rows), target = targets.narrow(0, from, rows).unsqueeze(1);
      const auto counted = target != kIgnored;
      const auto logits = capped_logits(x, weight, softcap);
      auto d = at::softmax(logits, -1).sub_(smoothing / static_cast<double>(classes));
      d.scatter_add_(1, target.clamp_min(0), at::full_like(target, smoothing - 1, d.options()));
      d.mul_(grads[0].narrow(0, from, rows).unsqueeze(1) * counted);
      if (softcap > 0) d.mul_(1 - (logits / softcap).square_());
      const auto low = d.to(hidden.scalar_type());
      hidden_grad.narrow(0, from, rows).copy_(at::mm(low, weight));
      weight_grad.addmm_(low.t(), x);
    }
    return {hidden_grad, weight_grad, {}, {}, {}, {}};
  }
};

}  // namespace

torch::Tensor linear_cross_entropy(const torch::Tensor& hidden, const torch::Tensor& weight,
                                   const torch::Tensor& targets, const LinearCrossEntropyOptions& options) {
  D2D_CHECK(hidden.dim() == 2 && weight.dim() == 2 && hidden.size(1) == weight.size(1),
            "[linear cross-entropy] hidden {} and weight {}: must be [N, D] and [V, D]", hidden.sizes(),
            weight.sizes());
  D2D_CHECK(targets.dim() == 1 && targets.size(0) == hidden.size(0) && targets.scalar_type() == torch::kInt64,
            "[linear cross-entropy] targets: got {} of shape {}, must be int64 [{}]",
            c10::toString(targets.scalar_type()), targets.sizes(), hidden.size(0));
  D2D_CHECK(options.chunk >= 1, "[linear cross-entropy] chunk: got {}, must be >= 1", options.chunk);
  return LinearCrossEntropy::apply(hidden.to(weight.scalar_type()), weight, targets, options.softcap,
                                   options.label_smoothing, options.chunk);
}

}  // namespace d2dmoe::nn
