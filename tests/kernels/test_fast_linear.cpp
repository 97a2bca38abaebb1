#include "d2dmoe/kernels/fast_linear.h"

#include <cmath>
#include <limits>

#include "d2dmoe/kernels/cpu/isa.h"
#include "kernels/mlp_cases.h"

using namespace d2dmoe;
using namespace d2dmoe::kernels;

namespace {

/// Sums of `in` products of numbers below 4 in another order: each addition rounds by at most half a unit.
double bound_of(int64_t in) {
  return static_cast<double>(in) * 16 * std::numeric_limits<float>::epsilon();
}

double worst(const torch::Tensor& a, const torch::Tensor& b) {
  return a.numel() == 0 ? 0 : (a - b).abs().max().item<double>();
}

}  // namespace

TEST_CASE("fast linear: the same numbers as in float64, whichever library computes them") {
  torch::manual_seed(31);
  for (const int64_t in : {1, 100, 128, 384}) {
    for (const int64_t out : {1, 33, 96, 160}) {
      const auto weight = torch::randn({out, in}).clamp(-4, 4), bias = torch::randn({out});
      for (const int64_t rows : {0, 1, 7, 300}) {
        INFO(rows << " rows, " << in << " to " << out);
        const auto x = torch::randn({rows, in}).clamp(-4, 4);
        const auto exact = at::linear(x.to(at::kDouble), weight.to(at::kDouble), bias.to(at::kDouble));
        const torch::NoGradGuard no_grad;
        CHECK(worst(fast_linear(x, weight, bias).to(at::kDouble), exact) <= bound_of(in));
        CHECK(worst(fast_linear_transposed(x, weight.t().contiguous(), bias).to(at::kDouble), exact) <=
              bound_of(in));
        const auto without = at::linear(x.to(at::kDouble), weight.to(at::kDouble));
        CHECK(worst(fast_linear(x, weight).to(at::kDouble), without) <= bound_of(in));
        CHECK(worst(fast_linear_transposed(x, weight.t()).to(at::kDouble), without) <= bound_of(in));
      }
    }
  }
  const auto x = torch::randn({2, 5, 128}), weight = torch::randn({160, 128});
  CHECK(fast_linear(x, weight).sizes() == at::IntArrayRef({2, 5, 160}));
  CHECK(worst(fast_linear(x.transpose(0, 1), weight), at::linear(x.transpose(0, 1), weight)) <=
        bound_of(128));
}

TEST_CASE("fast linear: other dtypes and gradients are PyTorch's") {
  torch::manual_seed(32);
  const auto x = torch::randn({9, 128}), weight = torch::randn({128, 128}).requires_grad_();
  for (const auto dtype : {at::kBFloat16, at::kDouble})
    CHECK(
        torch::equal(fast_linear(x.to(dtype), weight.to(dtype)), at::linear(x.to(dtype), weight.to(dtype))));
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
