#include "kernels/cuda_checks.h"

#include <limits>

#include "d2dmoe/kernels/cuda/plan.h"

namespace d2dmoe::test {

using namespace kernels;

double epsilon_of(torch::ScalarType type) {
  return type == torch::kFloat ? 6e-8 : type == torch::kBFloat16 ? 1 / 256.0 : 1 / 2048.0;
}

namespace {

// The masked dense layer in double, its activations rounded to x's type where the kernels round them: the
// tuned ones do above cuda::kDecodeRows rows.
torch::Tensor wanted(const torch::Tensor& x, const torch::Tensor& mask, const MlpWeights& w, bool rounds) {
  const auto wide = to_dtype(w, torch::kDouble);
  const auto xd = x.to(torch::kDouble);
  auto h = activate(torch::linear(xd, wide.w1, wide.b1), w.activation);
  if (w.gated()) h = h * torch::linear(xd, wide.wu, wide.bu);
  if (rounds) h = h.to(x.scalar_type()).to(torch::kDouble);
  h = torch::where(mask.repeat_interleave(w.hidden() / mask.size(1), 1), h, torch::zeros_like(h));
  const auto y = torch::mm(h, wide.w2t);
  return w.b2.defined() ? y + wide.b2 : y;
}

}  // namespace

void check_result(const torch::Tensor& got, const torch::Tensor& x, const torch::Tensor& mask,
                  const MlpWeights& w, bool rounds) {
  const double epsilon = epsilon_of(x.scalar_type());
  double bound = rounding_bound(x, w);
  if (rounds && x.scalar_type() != torch::kFloat && w.w2t.numel() > 0 && x.numel() > 0) {
    const auto wide = to_dtype(w, torch::kDouble);
    auto h = activate(torch::linear(x.to(torch::kDouble), wide.w1, wide.b1), w.activation).abs();
    if (w.gated()) h = h * torch::linear(x.to(torch::kDouble), wide.wu, wide.bu).abs();
    bound += 2 * epsilon * h.max().item<double>() * wide.w2t.abs().max().item<double>();
  }
  CHECK(got.scalar_type() == x.scalar_type());
  CHECK(difference(got.to(torch::kDouble), wanted(x, mask, w, rounds), bound, epsilon) == "");
}

namespace {

// NaN and either infinity where the dense layer has them, and what is finite near to it.
void check_like_dense(const RoutedLayer& layer, const torch::Tensor& x, const torch::Tensor& mask,
                      const MlpWeights& w) {
  const float infinity = std::numeric_limits<float>::infinity();
  INFO(c10::toString(x.scalar_type())
       << ", rows " << x.size(0) << ", experts of " << w.hidden() / mask.size(1));
  const auto y = layer(x, mask, w).to(torch::kDouble);
  // Sums that are finite in float64 may not be in the element type.
  const auto want = wanted(x, mask, w, x.size(0) > cuda::kDecodeRows).to(x.scalar_type()).to(torch::kDouble);
  REQUIRE(want.isfinite().logical_not().any().item<bool>());
  CHECK(torch::equal(y.isnan(), want.isnan()));
  CHECK(torch::equal(y.eq(infinity), want.eq(infinity)));
  CHECK(torch::equal(y.eq(-infinity), want.eq(-infinity)));
  const auto off = ((y - want).abs() / (want.abs() + 1)).index({want.isfinite()});
  CHECK((off.numel() == 0 || off.max().item<double>() < 4 * epsilon_of(x.scalar_type()) + 1e-5));
}

}  // namespace

void check_infinities(const RoutedLayer& layer) {
  torch::manual_seed(51);
  const float infinity = std::numeric_limits<float>::infinity(), largest = std::numeric_limits<float>::max();
  for (const auto type : kCudaTypes)
    for (const int64_t rows : {6, 20})
      for (const int64_t size : {1, 8}) {
        const MlpCase c{
            .rows = rows, .size = size, .experts = 3, .activation = Activation::relu, .biases = false};
        auto w = random_weights(c);
        w.w1[0].fill_(0.5), w.w1[size].fill_(-1);  // numbers that need few bits, beside others
        auto x = torch::randn({c.rows, c.d_in});
        x[0][0] = infinity;
        x[1][1] = -infinity;
        x[2][c.d_in - 1] = infinity;
        x[3][0] = x[3][1] = infinity;
        x[4][2] = largest;  // of float32; infinity of the others
        const auto mask = torch::eye(c.experts, torch::kBool).repeat({(rows + 2) / 3, 1}).slice(0, 0, rows);
        check_like_dense(layer, x.to(type), mask, to_dtype(w, type));

        auto weights = random_weights({.rows = rows, .size = size, .experts = 1, .biases = false});
        weights.w2t[0][4] = -infinity;
        check_like_dense(layer, torch::randn({rows, c.d_in}).to(type), torch::ones({rows, 1}, torch::kBool),
                         to_dtype(weights, type));
      }
}

}  // namespace d2dmoe::test
