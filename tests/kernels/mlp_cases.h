#pragma once

#include <string>

#include "d2dmoe/kernels/expert_mlp.h"
#include "support/scoped_env.h"
#include "support/support.h"

/// What the tests of this room share: random sites and masks.
namespace d2dmoe::test {

inline constexpr kernels::Activation kActivations[] = {
    kernels::Activation::relu, kernels::Activation::gelu_erf, kernels::Activation::gelu_tanh,
    kernels::Activation::silu, kernels::Activation::tanh};

struct MlpCase {
  int64_t rows = 7, d_in = 33, size = 24, experts = 5, d_out = 33;
  kernels::Activation activation = kernels::Activation::relu;
  bool gated = false, biases = true;
  std::string text() const {
    return "rows " + std::to_string(rows) + ", d_in " + std::to_string(d_in) + ", experts " +
           std::to_string(experts) + " of " + std::to_string(size) + ", d_out " + std::to_string(d_out) +
           ", " + kernels::activation_name(activation) + (gated ? ", gated" : "") +
           (biases ? "" : ", no biases");
  }
};

inline kernels::MlpWeights random_weights(const MlpCase& c) {
  const int64_t hidden = c.size * c.experts;
  const double scale = 1 / std::sqrt(static_cast<double>(std::max<int64_t>(1, c.d_in)));
  kernels::MlpWeights w;
  w.activation = c.activation;
  w.w1 = torch::randn({hidden, c.d_in}) * scale;
  w.w2t = torch::randn({hidden, c.d_out}) * scale;
  if (c.gated) w.wu = torch::randn({hidden, c.d_in}) * scale;
  if (c.biases) {
    w.b1 = torch::randn({hidden}) * 0.1;
    w.b2 = torch::randn({c.d_out}) * 0.1;
    if (c.gated) w.bu = torch::randn({hidden}) * 0.1;
  }
  return w;
}

inline torch::Tensor random_mask(const MlpCase& c, double share) {
  return torch::rand({c.rows, c.experts}).lt(share);
}

inline kernels::MlpWeights to_dtype(const kernels::MlpWeights& w, torch::ScalarType dtype) {
  kernels::MlpWeights out = w;
  for (torch::Tensor* t : {&out.w1, &out.b1, &out.wu, &out.bu, &out.w2t, &out.b2})
    if (t->defined()) *t = t->to(dtype);
  return out;
}

/// Bound on the rounding error of an output element: eps times the sums of absolute products that make it,
/// with room for the order of summation (error grows with the square root of the number of terms at random,
/// at most with it).
inline double rounding_bound(const torch::Tensor& x, const kernels::MlpWeights& w, double eps = 1.2e-7) {
  if (x.numel() == 0 || w.w1.numel() == 0 || w.w2t.numel() == 0) return eps;
  auto z = torch::matmul(x.abs().to(torch::kDouble), w.w1.abs().t().to(torch::kDouble));
  if (w.b1.defined()) z = z + w.b1.abs();
  if (w.gated()) {
    auto u = torch::matmul(x.abs().to(torch::kDouble), w.wu.abs().t().to(torch::kDouble));
    if (w.bu.defined()) u = u + w.bu.abs();
    z = z * u;
  }
  auto y = torch::matmul(z, w.w2t.abs().to(torch::kDouble));
  if (w.b2.defined()) y = y + w.b2.abs();
  return 4 * eps * y.max().item<double>();
}

}  // namespace d2dmoe::test
