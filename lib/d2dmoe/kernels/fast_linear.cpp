#include "d2dmoe/kernels/fast_linear.h"

#include <ATen/ATen.h>
#include <ATen/autocast_mode.h>
#include <ATen/core/dispatch/Dispatcher.h>

#include <optional>

#include "d2dmoe/kernels/cpu/isa.h"

namespace d2dmoe::kernels {
namespace {

// Where oneDNN was measured to be no more than about 1 % slower than MKL with AVX2 (Zen 4; D 384 and 768 at 1
// to 2048 rows, D 128 and 100 from 256 on; other widths are taken to be like these): both widths whole
// vectors, or many rows. (With D 100, fewer rows took up to 90 % longer.)
constexpr int64_t kLeastWidth = 96, kVector = 16, kManyRows = 256;

using Pointwise = at::Tensor(const at::Tensor&, const at::Tensor&, const std::optional<at::Tensor>&,
                             std::string_view, c10::List<std::optional<at::Scalar>>,
                             std::optional<std::string_view>);
using PointwiseOp = c10::TypedOperatorHandle<Pointwise>;

// oneDNN's product as LibTorch registers it for its compiler; a LibTorch built without oneDNN has none.
const std::optional<PointwiseOp>& pointwise() {
  static const std::optional<PointwiseOp> op = []() -> std::optional<PointwiseOp> {
    const auto found = c10::Dispatcher::singleton().findSchema({"mkldnn::_linear_pointwise", ""});
    if (!found || !found->hasKernelForDispatchKey(c10::DispatchKey::CPU)) return std::nullopt;
    return found->typed<Pointwise>();
  }();
  return op;
}

bool by_onednn(const torch::Tensor& x, const torch::Tensor& weight, const torch::Tensor& bias) {
  const auto plain = [](const torch::Tensor& t) { return t.is_cpu() && t.scalar_type() == at::kFloat; };
  if (!plain(x) || !plain(weight) || (bias.defined() && !plain(bias)) || x.numel() == 0) return false;
  const int64_t in = weight.size(1), out = weight.size(0);
  const bool whole = in % kVector == 0 && out % kVector == 0, many = x.numel() >= kManyRows * in;
  if (in < kLeastWidth || out < kLeastWidth || !(whole || many)) return false;
  const bool gradient = at::GradMode::is_enabled() && (x.requires_grad() || weight.requires_grad() ||
                                                       (bias.defined() && bias.requires_grad()));
  if (gradient || at::autocast::is_autocast_enabled(at::kCPU)) return false;
  return cpu::mkl_lacks_avx512() && at::hasMKL() && cpu::isa() >= cpu::Isa::avx512 &&
         at::globalContext().userEnabledMkldnn() && pointwise().has_value();
}

torch::Tensor onednn(const torch::Tensor& x, const torch::Tensor& weight, const torch::Tensor& bias) {
  const std::optional<at::Tensor> b = bias.defined() ? std::optional(bias) : std::nullopt;
  return pointwise()->call(x, weight, b, "none", c10::List<std::optional<at::Scalar>>(), "");
}

}  // namespace

torch::Tensor fast_linear(const torch::Tensor& x, const torch::Tensor& weight, const torch::Tensor& bias) {
  return by_onednn(x, weight, bias) ? onednn(x, weight, bias) : at::linear(x, weight, bias);
}

torch::Tensor fast_linear_transposed(const torch::Tensor& x, const torch::Tensor& weight_t,
                                     const torch::Tensor& bias) {
  const torch::Tensor weight = weight_t.t();
  if (by_onednn(x, weight, bias)) return onednn(x, weight, bias);
  // Not at::linear of the view: autocast would cast it anew at every call.
  return bias.defined() ? at::addmm(bias, x, weight_t) : at::mm(x, weight_t);
}

}  // namespace d2dmoe::kernels
