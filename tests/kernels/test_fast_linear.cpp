#include "d2dmoe/kernels/fast_linear.h"

#include <ATen/autocast_mode.h>

#include <cmath>
#include <limits>

#include "d2dmoe/kernels/cpu/isa.h"
#include "kernels/mlp_cases.h"

using namespace d2dmoe;
using namespace d2dmoe::kernels;

namespace {

/// Twice the rounding unit times the sums of absolute products, with room for the order of summation.
double bound_of(const torch::Tensor& x, const torch::Tensor& weight, const torch::Tensor& bias) {
  if (x.numel() == 0) return 0;
  auto sums = at::linear(x.to(at::kDouble).abs(), weight.to(at::kDouble).abs());
  if (bias.defined()) sums = sums + bias.abs();
  return 2 * std::numeric_limits<float>::epsilon() * sums.max().item<double>();
}

double worst(const torch::Tensor& a, const torch::Tensor& b) {
  return a.numel() == 0 ? 0 : (a.to(at::kDouble) - b).abs().max().item<double>();
}

}  // namespace

TEST_CASE("fast linear: the same numbers as in float64, whichever library computes them") {
  torch::manual_seed(31);
  const torch::NoGradGuard no_grad;
  for (const int64_t in : {1, 100, 128, 384}) {
    for (const int64_t out : {1, 33, 96, 160}) {
      const auto weight = torch::randn({out, in}), bias = torch::randn({out});
      for (const int64_t rows : {0, 1, 7, 300}) {
        INFO(rows << " rows, " << in << " to " << out);
        const auto x = torch::randn({rows, in});
        for (const auto& b : {bias, torch::Tensor()}) {
          const auto wide_bias = b.defined() ? b.to(at::kDouble) : b;
          const auto exact = at::linear(x.to(at::kDouble), weight.to(at::kDouble), wide_bias);
          const double bound = bound_of(x, weight, b);
          CHECK(worst(fast_linear(x, weight, b), exact) <= bound);
          CHECK(worst(fast_linear_transposed(x, weight.t().contiguous(), b), exact) <= bound);
          CHECK(worst(fast_linear_transposed(x, weight.t(), b), exact) <= bound);
        }
      }
    }
  }
  const auto x = torch::randn({2, 5, 128}).transpose(0, 1), weight = torch::randn({160, 128});
  const auto y = fast_linear(x, weight);
  CHECK(y.sizes() == at::IntArrayRef({5, 2, 160}));
  CHECK(worst(y, at::linear(x.to(at::kDouble), weight.to(at::kDouble))) <= bound_of(x, weight, {}));
}

TEST_CASE("fast linear: other dtypes, autocast and gradients are PyTorch's") {
  torch::manual_seed(32);
  const auto x = torch::randn({9, 128}), weight = torch::randn({128, 128}).requires_grad_();
  for (const auto dtype : {at::kBFloat16, at::kDouble})
    CHECK(
        torch::equal(fast_linear(x.to(dtype), weight.to(dtype)), at::linear(x.to(dtype), weight.to(dtype))));
  {
    const torch::NoGradGuard no_grad;
    at::autocast::set_autocast_enabled(at::kCPU, true);
    const auto y = fast_linear(x, weight), transposed = fast_linear_transposed(x, weight);
    at::autocast::clear_cache();
    at::autocast::set_autocast_enabled(at::kCPU, false);
    CHECK(y.scalar_type() == at::kBFloat16);
    CHECK(transposed.scalar_type() == at::kBFloat16);
  }
  const auto direction = torch::randn({9, 128});
  const auto got = torch::autograd::grad({fast_linear(x, weight)}, {weight}, {direction})[0];
  const auto want = torch::autograd::grad({at::linear(x, weight)}, {weight}, {direction})[0];
  CHECK(torch::equal(got, want));
}

TEST_CASE("fast linear: NaN and infinities reach the sums they belong to, and no others") {
  auto x = torch::ones({4, 128});
  x[1][5] = NAN, x[2][6] = INFINITY;
  const auto weight = torch::ones({160, 128});
  const auto y = fast_linear(x, weight);
  CHECK(torch::equal(y[0], torch::full({160}, 128.0)));
  CHECK(y[1].isnan().all().item<bool>());
  CHECK(torch::equal(y[2], torch::full({160}, INFINITY)));
  CHECK(torch::equal(y[3], y[0]));
}

TEST_CASE("fast linear: an instruction set below AVX-512 keeps to at::linear") {
  torch::manual_seed(33);
  const auto x = torch::randn({50, 384}), weight = torch::randn({384, 384});
  const test::ScopedEnv isa("D2DMOE_ISA", "portable");
  CHECK(torch::equal(fast_linear(x, weight), at::linear(x, weight)));
}
