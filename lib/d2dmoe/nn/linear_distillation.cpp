#include "d2dmoe/nn/linear_distillation.h"

#include <ATen/Functions.h>
#include <torch/csrc/autograd/custom_function.h>

#include <algorithm>

#include "d2dmoe/core/error.h"

namespace d2dmoe::nn {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

struct LinearDistillation : torch::autograd::Function<LinearDistillation> {
  static torch::Tensor forward(AutogradContext* ctx, const torch::Tensor& hidden, const torch::Tensor& weight,
                               const torch::Tensor& row_weights, const LogitsOf& teacher,
                               const LinearDistillationOptions& options) {
    const double t = options.temperature;
    auto hidden_grad = at::empty_like(hidden), weight_grad = at::zeros_like(weight);
    auto sum = at::zeros({}, hidden.options().dtype(torch::kFloat32));
    for (int64_t from = 0; from < hidden.size(0); from += options.chunk) {
      const int64_t rows = std::min(options.chunk, hidden.size(0) - from);
      const auto x = hidden.narrow(0, from, rows);
      auto logits = at::linear(x, weight).to(torch::kFloat32);
      if (options.softcap > 0) logits = at::tanh(logits / options.softcap) * options.softcap;
      const auto target = teacher(from, rows);
      D2D_CHECK(
          target.sizes() == logits.sizes(),
          "[distillation]: the teacher's logits are {}, the student's {}. Hint: both must have the same "
          "vocabulary",
          target.sizes(), logits.sizes());
      const auto log_q = at::log_softmax(logits / t, -1),
                 log_p = at::log_softmax(target.to(torch::kFloat32) / t, -1);
      const auto p = log_p.exp();
      const auto share = row_weights.narrow(0, from, rows).unsqueeze(1) * (t * t);
      sum += ((p * (log_p - log_q)) * share).sum();
      // d KL / d logit = (q - p) / T; the cap's derivative is 1 - (capped / cap)^2.
      auto d = (log_q.exp() - p) * (share / t);
      if (options.softcap > 0) d.mul_(1 - (logits / options.softcap).square());
      const auto low = d.to(hidden.scalar_type());
      hidden_grad.narrow(0, from, rows).copy_(at::mm(low, weight));
      weight_grad.addmm_(low.t(), x);
    }
    ctx->save_for_backward({hidden_grad, weight_grad});
    return sum;
  }

  static variable_list backward(AutogradContext* ctx, const variable_list& grads) {
    const auto saved = ctx->get_saved_variables();
    return {saved[0] * grads[0].to(saved[0].scalar_type()),
            saved[1] * grads[0].to(saved[1].scalar_type()),
            {},
            {},
            {}};
  }
};

}  // namespace

torch::Tensor linear_distillation(const torch::Tensor& hidden, const torch::Tensor& weight,
                                  const LogitsOf& teacher, const torch::Tensor& row_weights,
                                  const LinearDistillationOptions& options) {
  D2D_CHECK(hidden.dim() == 2 && weight.dim() == 2 && hidden.size(1) == weight.size(1),
            "[distillation] hidden {} and weight {}: must be [N, D] and [V, D]", hidden.sizes(),
            weight.sizes());
  D2D_CHECK(row_weights.dim() == 1 && row_weights.size(0) == hidden.size(0),
            "[distillation] row_weights: got {}, must be [{}]", row_weights.sizes(), hidden.size(0));
  D2D_CHECK(options.temperature > 0 && options.chunk >= 1,
            "[distillation] temperature {} and chunk {}: must be above 0", options.temperature,
            options.chunk);
  return LinearDistillation::apply(hidden.to(weight.scalar_type()), weight, row_weights, teacher, options);
}

}  // namespace d2dmoe::nn
