#include "d2dmoe/kernels/expert_mlp_gradient.h"

#include <ATen/autocast_mode.h>
#include <torch/csrc/autograd/autograd.h>
#include <torch/csrc/autograd/custom_function.h>

#include <optional>

#include "d2dmoe/kernels/expert_mlp_checks.h"

namespace d2dmoe::kernels {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

// Order of the function's inputs, which is the order of its gradients.
enum Input : size_t { kX, kMask, kW1, kB1, kWu, kBu, kW2t, kB2, kInputs };

MlpWeights weights_of(const variable_list& saved, Activation activation) {
  MlpWeights w;
  w.w1 = saved[kW1], w.b1 = saved[kB1], w.wu = saved[kWu], w.bu = saved[kBu];
  w.w2t = saved[kW2t], w.b2 = saved[kB2];
  w.activation = activation;
  return w;
}

// Gradients that can be differentiated again.
variable_list second_order(const torch::Tensor& dy, const variable_list& saved, const MlpWeights& w,
                           const std::vector<bool>& wanted) {
  const torch::Tensor y = masked_dense_mlp(saved[kX], saved[kMask], w);
  variable_list inputs;
  for (size_t i = 0; i < kInputs; ++i)
    if (wanted[i]) inputs.push_back(saved[i]);
  const variable_list found = torch::autograd::grad({y}, inputs, {dy}, /*retain_graph=*/true,
                                                    /*create_graph=*/true, /*allow_unused=*/true);
  variable_list gradients(kInputs + 1);
  for (size_t i = 0, next = 0; i < kInputs; ++i)
    if (wanted[i]) gradients[i] = found[next++];
  return gradients;
}

using MaybeTensor = std::optional<torch::Tensor>;  // autograd takes no undefined ones
MaybeTensor maybe(const torch::Tensor& t) {
  return t.defined() ? MaybeTensor(t) : std::nullopt;
}

class RoutedMlp : public torch::autograd::Function<RoutedMlp> {
 public:
  static torch::Tensor forward(AutogradContext* ctx, const torch::Tensor& x, const torch::Tensor& mask,
                               const torch::Tensor& w1, const MaybeTensor& b1, const MaybeTensor& wu,
                               const MaybeTensor& bu, const torch::Tensor& w2t, const MaybeTensor& b2,
                               int64_t activation) {
    const auto or_nothing = [](const MaybeTensor& t) { return t.value_or(torch::Tensor()); };
    const MlpWeights w = {w1,
                          or_nothing(b1),
                          or_nothing(wu),
                          or_nothing(bu),
                          w2t,
                          or_nothing(b2),
                          static_cast<Activation>(activation)};
    ctx->save_for_backward({x, mask, w1, w.b1, w.wu, w.bu, w2t, w.b2});
    ctx->saved_data["activation"] = activation;
    return expert_mlp(x, mask, w);
  }

  static variable_list backward(AutogradContext* ctx, const variable_list& outputs) {
    const variable_list saved = ctx->get_saved_variables();
    const auto w = weights_of(saved, static_cast<Activation>(ctx->saved_data["activation"].toInt()));
    std::vector<bool> wanted(kInputs);
    for (size_t i = 0, edge = 0; i < kInputs; ++i)  // tensors that are not there have no edge
      if (saved[i].defined()) wanted[i] = ctx->needs_input_grad(edge++) && i != kMask;
    if (at::GradMode::is_enabled()) return second_order(outputs[0], saved, w, wanted);
    MlpGradients g = expert_mlp_backward(
        outputs[0], saved[kX], saved[kMask], w,
        {wanted[kX], wanted[kW1], wanted[kB1], wanted[kWu], wanted[kBu], wanted[kW2t], wanted[kB2]});
    return {g.x, torch::Tensor(), g.w1, g.b1, g.wu, g.bu, g.w2t, g.b2, torch::Tensor()};
  }
};

}  // namespace

bool has_backward(const torch::Tensor& x) {
  return x.is_cpu() && x.scalar_type() == at::kFloat && !at::autocast::is_autocast_enabled(at::kCPU);
}

torch::Tensor expert_mlp_differentiable(const torch::Tensor& x, const torch::Tensor& mask,
                                        const MlpWeights& w) {
  check_expert_mlp("expert_mlp", x, mask, w);
  return RoutedMlp::apply(x, mask, w.w1, maybe(w.b1), maybe(w.wu), maybe(w.bu), w.w2t, maybe(w.b2),
                          static_cast<int64_t>(w.activation));
}

}  // namespace d2dmoe::kernels
