#include "d2dmoe/sparsity/penalty.h"

#include <ATen/Functions.h>
#include <torch/csrc/autograd/custom_function.h>

#include "d2dmoe/core/error.h"
#include "d2dmoe/sparsity/row_passes.h"

namespace d2dmoe::sparsity {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

constexpr double kEpsilon = 1e-15;  // docs/method.md §2

// Mean over rows of l1^2 / l2sq, each direction in one pass over the activations. The closed gradient needs
// the two sums of each row and the activations themselves, which the graph holds anyway: nothing of size
// [N, F] is kept besides.
struct SquareHoyer : torch::autograd::Function<SquareHoyer> {
  static torch::Tensor forward(AutogradContext* ctx, const torch::Tensor& a) {
    auto sums = row_sums(a);  // [N, 2]
    const auto l1 = sums.select(1, 0), l2sq = sums.select(1, 1).add_(kEpsilon);
    ctx->save_for_backward({a, sums});
    return (l1.square() / l2sq).sum() / static_cast<double>(a.size(0));
  }

  static variable_list backward(AutogradContext* ctx, const variable_list& grads) {
    const auto saved = ctx->get_saved_variables();
    const auto &a = saved[0], &sums = saved[1];
    const auto ratio = sums.select(1, 0) / sums.select(1, 1);  // [N]
    const auto scale = 2 * grads[0] / static_cast<double>(a.size(0));
    return {sign_and_value(a, scale * ratio, scale * ratio.square())};
  }
};

torch::Tensor wide(const torch::Tensor& a) {
  return a.to(torch::kFloat32);
}

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
    {"l1",
     [](const torch::Tensor&, const torch::Tensor& post, double) { return mean_over_rows(wide(post)); }},
    {"square_hoyer_clamped", [](const torch::Tensor& pre, const torch::Tensor&,
                                double d) { return SquareHoyer::apply(wide(pre).clamp_min(d) - d); }},
    {"l1_clamped", [](const torch::Tensor& pre, const torch::Tensor&,
                      double d) { return mean_over_rows(wide(pre).clamp_min(d) - d); }},
};

Formula formula_of(const std::string& name) {
  std::vector<std::string> known;
  for (const auto& entry : kFormulas) {
    if (entry.name == name) return entry.formula;
    known.emplace_back(entry.name);
  }
  throw UsageError(format("[penalty] '{}': not a penalty, must be one of {}{}", name, join(known, ", "),
                          nearest_hint(name, known)));
}

}  // namespace

torch::Tensor penalty(const std::string& name, const torch::Tensor& pre, const torch::Tensor& post,
                      double displacement) {
  const auto formula = formula_of(name);
  D2D_CHECK(pre.dim() == 2 && pre.sizes() == post.sizes(),
            "[penalty] '{}': got activations {} and {}, must be [N, F]", name, pre.sizes(), post.sizes());
  if (post.size(0) == 0) return torch::zeros({}, post.options().dtype(torch::kFloat32));
  return formula(pre, post, displacement);
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
