#pragma once

#include <sstream>

#include "kernels/mlp_cases.h"

/// How far results may be from exact ones, element by element, as the rounding of their formats explains.
namespace d2dmoe::test {

/// Relative error of rounding to the nearest.
constexpr double kBf16Unit = 1.0 / 256, kFloatUnit = 1.0 / (1 << 24);

inline torch::Tensor in_double(const torch::Tensor& t) {
  return t.defined() ? t.to(torch::kDouble) : t;
}

/// The readable reference in float64, of whatever dtype the layer is.
inline torch::Tensor exact_expert_mlp(const torch::Tensor& x, const torch::Tensor& mask,
                                      const kernels::MlpWeights& w) {
  return kernels::expert_mlp_reference(in_double(x), mask, to_dtype(w, torch::kDouble));
}

/// How far each element of a bfloat16 layer may be from exact_expert_mlp, [N, D_out]: rounding of the hidden
/// activations and of y to 8 bits, and of every float32 addition in the worst order (a product of pairs may
/// round twice), carried through the layer. No activation's slope is above 1.13; their own error is bound by
/// 1e-6 of max(|z|, 1).
inline torch::Tensor bf16_error_bound(const torch::Tensor& x, const torch::Tensor& mask,
                                      const kernels::MlpWeights& w) {
  constexpr double kSlope = 1.13, kActivation = 1e-6;
  const int64_t size = w.hidden() / mask.size(1);
  const auto linear = [&](const torch::Tensor& weight, const torch::Tensor& bias, bool absolute) {
    const auto part = [&](const torch::Tensor& t) { return absolute ? in_double(t).abs() : in_double(t); };
    auto z = torch::mm(part(x), part(weight).t());
    return bias.defined() ? z + part(bias) : z;
  };
  const double additions = 2 * (static_cast<double>(x.size(1)) + 2) * kFloatUnit;
  const auto z = linear(w.w1, w.b1, false);
  auto h = kernels::activate(z, w.activation);
  auto error = kSlope * additions * linear(w.w1, w.b1, true) + kActivation * z.abs().clamp_min(1);
  if (w.gated()) {
    const auto u = linear(w.wu, w.bu, false), u_error = additions * linear(w.wu, w.bu, true);
    error = error * (u.abs() + u_error) + h.abs() * u_error + kFloatUnit * (h * u).abs();
    h = h * u;
  }
  error = error + kBf16Unit * (h.abs() + error);
  const auto chosen = mask.repeat_interleave(size, 1).to(torch::kDouble);  // [N, F]
  const auto w2t = in_double(w.w2t).abs();
  auto total = torch::mm((h.abs() + error) * chosen, w2t);
  if (w.b2.defined()) total = total + in_double(w.b2).abs();
  const auto neurons = mask.sum(1, true).to(torch::kDouble) * static_cast<double>(size);
  error = torch::mm(error * chosen, w2t) + 2 * (neurons + 2) * kFloatUnit * total;
  return error + kBf16Unit * (exact_expert_mlp(x, mask, w).abs() + error) + 1e-30;
}

/// "" when every element is within its bound, else the worst one. Use: CHECK(outside(got, want, bound) ==
/// "").
inline std::string outside(const torch::Tensor& got, const torch::Tensor& want, const torch::Tensor& bound) {
  if (got.numel() == 0) return "";
  const auto ratio = ((in_double(got) - want).abs() / bound).flatten();
  const auto bad = ratio.le(1).logical_not();
  if (!bad.any().item<bool>()) return "";
  const int64_t worst = ratio.nan_to_num(1e30).argmax().item<int64_t>();
  std::ostringstream text;
  text << "element " << worst << ": got " << in_double(got).flatten()[worst].item<double>() << ", want "
       << want.flatten()[worst].item<double>() << " +- " << bound.flatten()[worst].item<double>() << "; "
       << bad.sum().item<int64_t>() << " of " << got.numel() << " outside";
  return text.str();
}

}  // namespace d2dmoe::test
