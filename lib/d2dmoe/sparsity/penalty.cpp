#include "d2dmoe/sparsity/penalty.h"

#include <ATen/Functions.h>
#include <torch/csrc/autograd/custom_function.h>

#include "d2dmoe/core/error.h"

namespace d2dmoe::sparsity {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

constexpr double kEpsilon = 1e-15;  // docs/method.md §2

// Mean over rows of l1^2 / l2sq. The closed gradient needs the two sums of each row and the activations
// themselves, which the graph holds anyway: nothing of size [N, F] is kept besides.
struct SquareHoyer : torch::autograd::Function<SquareHoyer> {
  static torch::Tensor forward(AutogradContext* ctx, const torch::Tensor& a) {
    const auto l1 = at::norm(a, 1, {1}, /*keepdim=*/true);                        // [N, 1]
    const auto l2sq = at::norm(a, 2, {1}, /*keepdim=*/true).square() + kEpsilon;  // [N, 1]
    ctx->save_for_backward({a, l1, l2sq});
    return (l1.square() / l2sq).sum() / static_cast<double>(a.size(0));
  }

  static variable_list backward(AutogradContext* ctx, const variable_list& grads) {
    const auto saved = ctx->get_saved_variables();
    const auto &a = saved[0], &l1 = saved[1], &l2sq = saved[2];
    const auto ratio = l1 / l2sq;  // [N, 1]
    const auto scale = 2 * grads[0] / static_cast<double>(a.size(0));
    auto grad = at::sign(a).mul_(scale * ratio);
    return {grad.addcmul_(a, scale * ratio.square(), -1)};
  }
};

torch::Tensor mean_over_rows(const torch::Tensor& a) {
  return a.sum() / static_cast<double>(a.size(0));
}

using Formula = torch::Tensor (*)(const torch::Tensor& pre, const torch::Tensor& post, double displacement);

struct Entry {
  const char* name;
  Formula formula;
};

const Entry kFormulas[] = {
    {"square_hoyer",
     [](const torch::Tensor&, const torch::Tensor& post, double) { return SquareHoyer::apply(post); }},
    {"l1", [](const torch::Tensor&, const torch::Tensor& post, double) { return mean_over_rows(post); }},
    {"square_hoyer_clamped", [](const torch::Tensor& pre, const torch::Tensor&,
                                double d) { return SquareHoyer::apply(pre.clamp_min(d) - d); }},
    {"l1_clamped", [](const torch::Tensor& pre, const torch::Tensor&,
                      double d) { return mean_over_rows(pre.clamp_min(d) - d); }},
};

Formula formula_of(const std::string& name) {
  for (const auto& entry : kFormulas)
    if (entry.name == name) return entry.formula;
  std::string known;
  for (const auto& entry : kFormulas) known += (known.empty() ? "" : ", ") + std::string(entry.name);
  D2D_CHECK_USAGE(false, "[penalty] '{}': not a penalty, must be one of {}", name, known);
  return nullptr;
}

}  // namespace

torch::Tensor penalty(const std::string& name, const torch::Tensor& pre, const torch::Tensor& post,
                      double displacement) {
  const auto formula = formula_of(name);
  D2D_CHECK(pre.dim() == 2 && pre.sizes() == post.sizes(),
            "[penalty] '{}': got activations {} and {}, must be [N, F]", name, pre.sizes(), post.sizes());
  if (post.size(0) == 0) return torch::zeros({}, post.options().dtype(torch::kFloat32));
  return formula(pre.to(torch::kFloat32), post.to(torch::kFloat32), displacement);
}

PenaltyObserver::PenaltyObserver(std::string name, double displacement)
    : name_(std::move(name)), displacement_(displacement) {
  formula_of(name_);
}

void PenaltyObserver::on_activation(const nn::SiteId& site, const torch::Tensor& pre,
                                    const torch::Tensor& post, const torch::Tensor&) {
  const auto index = static_cast<size_t>(site.index);
  if (values_.size() <= index) values_.resize(index + 1);
  values_[index] = penalty(name_, pre, post, displacement_);
}

torch::Tensor PenaltyObserver::mean() const {
  std::vector<torch::Tensor> seen;
  for (const auto& value : values_)
    if (value.defined()) seen.push_back(value);
  return seen.empty() ? torch::Tensor() : at::stack(seen).mean();
}

void PenaltyObserver::reset() {
  values_.clear();
}

}  // namespace d2dmoe::sparsity
