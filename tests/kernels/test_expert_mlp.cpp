#include "d2dmoe/kernels/expert_mlp.h"

#include "kernels/error_bounds.h"
#include "kernels/mlp_cases.h"

using namespace d2dmoe;
using namespace d2dmoe::kernels;
using test::MlpCase;

namespace {

// All four implementations against the reference.
void check_all(const MlpCase& c, const torch::Tensor& x, const torch::Tensor& mask, const MlpWeights& w) {
  INFO(c.text());
  const double bound = test::rounding_bound(x, w);
  const auto want = expert_mlp_reference(x, mask, w);
  CHECK(test::difference(expert_mlp(x, mask, w), want, bound) == "");
  CHECK(test::difference(expert_mlp_generic(x, mask, w), want, bound) == "");
  CHECK(test::difference(masked_dense_mlp(x, mask, w), want, bound) == "");
}

void check_case(const MlpCase& c) {
  const auto w = test::random_weights(c);
  const auto x = torch::randn({c.rows, c.d_in});
  for (const double share : {0.0, 0.2, 0.7, 1.0}) check_all(c, x, test::random_mask(c, share), w);
  auto rows_without = test::random_mask(c, 0.5);
  if (c.rows > 1) rows_without.slice(0, 0, c.rows, 2).fill_(false);
  check_all(c, x, rows_without, w);
  if (c.rows > 0) {
    auto one = torch::zeros({c.rows, c.experts}, torch::kBool);
    one.select(1, c.experts - 1).fill_(true);
    check_all(c, x, one, w);
  }
}

}  // namespace

TEST_CASE("expert_mlp: equals the reference for sizes around vectors and tiles") {
  torch::manual_seed(3);
  for (const int64_t rows : {0, 1, 2, 3, 4, 5, 13})
    for (const int64_t size : {1, 3, 24, 33}) check_case({.rows = rows, .size = size});
  for (const int64_t d : {1, 3, 4, 8, 15, 16, 17, 64, 130})
    check_case({.d_in = d, .size = 5, .experts = 3, .d_out = d});
  check_case({.d_in = 20, .size = 6, .experts = 4, .d_out = 49});
  check_case({.rows = 9, .size = 12, .experts = 1});
  check_case({.rows = 40, .size = 2, .experts = 67});
}

TEST_CASE("expert_mlp: every activation, gated or not, with or without biases") {
  torch::manual_seed(4);
  for (const Activation a : test::kActivations)
    for (const bool gated : {false, true})
      for (const bool biases : {false, true}) check_case({.activation = a, .gated = gated, .biases = biases});
}

TEST_CASE("expert_mlp: degenerate widths") {
  for (const MlpCase& c : {MlpCase{.d_in = 0, .size = 2, .experts = 2, .d_out = 3},
                           MlpCase{.d_in = 3, .size = 2, .experts = 2, .d_out = 0},
                           MlpCase{.d_in = 3, .size = 0, .experts = 2, .d_out = 3}}) {
    INFO(c.text());
    const auto w = test::random_weights(c);
    const auto x = torch::randn({c.rows, c.d_in});
    const auto mask = torch::ones({c.rows, c.experts}, torch::kBool);
    CHECK(test::difference(expert_mlp(x, mask, w), dense_mlp(x, w), 1e-6) == "");
  }
}

TEST_CASE("expert_mlp: all experts on is the dense layer, none is the bias") {
  torch::manual_seed(5);
  const MlpCase c{.rows = 50, .d_in = 96, .size = 24, .experts = 16, .d_out = 96};
  const auto w = test::random_weights(c);
  const auto x = torch::randn({c.rows, c.d_in});
  const auto all = torch::ones({c.rows, c.experts}, torch::kBool);
  CHECK(test::difference(expert_mlp(x, all, w), dense_mlp(x, w), test::rounding_bound(x, w)) == "");
  CHECK(torch::equal(expert_mlp(x, all.logical_not(), w), w.b2.expand({c.rows, c.d_out})));
}

TEST_CASE("expert_mlp: reads strided x, masks and weights") {
  torch::manual_seed(6);
  const MlpCase c{.rows = 11, .experts = 6};
  const auto w = test::random_weights(c);
  const auto wide = torch::randn({c.rows * 2, c.d_in + 9});
  const auto rows_apart = wide.slice(0, 0, 2 * c.rows, 2).slice(1, 4, 4 + c.d_in);
  const auto columns_apart = torch::randn({c.d_in, c.rows}).t();
  const auto mask = torch::rand({c.experts, c.rows}).lt(0.4).t();
  check_all(c, rows_apart, mask, w);
  check_all(c, columns_apart, mask, w);
  auto strided = w;
  strided.w1 = w.w1.t().contiguous().t();
  strided.w2t = w.w2t.t().contiguous().t();
  check_all(c, columns_apart, mask, strided);
  CHECK(torch::equal(expert_mlp(rows_apart, mask, w),
                     expert_mlp(rows_apart.contiguous(), mask.contiguous(), w)));
}

TEST_CASE("expert_mlp: zeros in the hidden layer, from none to all") {
  torch::manual_seed(7);
  const MlpCase c{.rows = 64, .d_in = 48, .size = 24, .experts = 8, .d_out = 80};
  for (const double bias : {-3.0, -1.0, -0.5, 0.0, 0.5, 3.0}) {
    auto w = test::random_weights(c);
    w.b1.fill_(bias);
    check_all(c, torch::randn({c.rows, c.d_in}), test::random_mask(c, 0.3), w);
  }
}

TEST_CASE("expert_mlp: NaN and infinity of a row reach its executed experts and nothing else") {
  torch::manual_seed(8);
  const MlpCase c{.rows = 6, .experts = 4};
  const auto w = test::random_weights(c);
  const float infinity = std::numeric_limits<float>::infinity();
  auto x = torch::randn({c.rows, c.d_in});
  x[1][3] = NAN;
  x[2][0] = infinity;
  x[3][5] = NAN;
  auto mask = torch::ones({c.rows, c.experts}, torch::kBool);
  mask[3].fill_(false);
  for (const auto& y :
       {expert_mlp(x, mask, w), expert_mlp_generic(x, mask, w), masked_dense_mlp(x, mask, w)}) {
    CHECK(y[1].isnan().all().item<bool>());
    CHECK(y[2].isfinite().logical_not().all().item<bool>());
    CHECK(torch::equal(y[3], w.b2));
    CHECK(y[0].isfinite().all().item<bool>());
    CHECK(y[4].isfinite().all().item<bool>());
  }
}

TEST_CASE("expert_mlp: the bytes do not depend on the number of threads or on neighbouring rows") {
  torch::manual_seed(9);
  const MlpCase c{.rows = 203, .d_in = 70, .size = 24, .experts = 16, .d_out = 70};
  const int threads = torch::get_num_threads();
  for (const Activation a : {Activation::relu, Activation::gelu_erf}) {
    auto w = test::random_weights(c);
    w.activation = a;
    const auto x = torch::randn({c.rows, c.d_in});
    const auto mask = test::random_mask(c, 0.25);
    torch::set_num_threads(1);
    const auto one = expert_mlp(x, mask, w);
    for (const int count : {2, 3}) {
      torch::set_num_threads(count);
      CHECK(torch::equal(expert_mlp(x, mask, w), one));
    }
    torch::set_num_threads(threads);
    for (const int64_t n : {0, 57, 202})
      CHECK(torch::equal(expert_mlp(x.slice(0, n, n + 1), mask.slice(0, n, n + 1), w)[0], one[n]));
  }
}

TEST_CASE("expert_mlp: more rows than one block holds") {
  torch::manual_seed(10);
  const MlpCase c{.rows = 2600, .d_in = 8, .size = 4, .experts = 6, .d_out = 8};
  const auto w = test::random_weights(c);
  const auto x = torch::randn({c.rows, c.d_in});
  const auto mask = test::random_mask(c, 0.3);
  CHECK(test::difference(expert_mlp(x, mask, w), masked_dense_mlp(x, mask, w), test::rounding_bound(x, w)) ==
        "");
}

TEST_CASE("expert_mlp: permuting neurons inside experts and experts with their mask changes nothing") {
  torch::manual_seed(11);
  const MlpCase c{.rows = 20, .size = 8, .experts = 6};
  const auto w = test::random_weights(c);
  const auto x = torch::randn({c.rows, c.d_in});
  const auto mask = test::random_mask(c, 0.4);
  const auto experts = torch::randperm(c.experts, torch::kLong);
  const auto inside = torch::randperm(c.size, torch::kLong);
  const auto neurons = (experts.unsqueeze(1) * c.size + inside.unsqueeze(0)).flatten();
  auto moved = w;
  moved.w1 = w.w1.index_select(0, neurons), moved.b1 = w.b1.index_select(0, neurons);
  moved.w2t = w.w2t.index_select(0, neurons);
  CHECK(test::difference(expert_mlp(x, mask.index_select(1, experts), moved), expert_mlp(x, mask, w),
                         test::rounding_bound(x, w)) == "");
}

TEST_CASE("expert_mlp: bfloat16 and double") {
  torch::manual_seed(12);
  const MlpCase c{.rows = 17, .d_in = 64, .size = 24, .experts = 8, .d_out = 64};
  const auto wide = test::random_weights(c);
  const auto x = torch::randn({c.rows, c.d_in});
  const auto mask = test::random_mask(c, 0.5);
  const auto half = test::to_dtype(wide, torch::kBFloat16);
  const auto x_half = x.to(torch::kBFloat16);
  const auto y = expert_mlp(x_half, mask, half);
  CHECK(y.scalar_type() == torch::kBFloat16);
  CHECK(test::outside(y, test::exact_expert_mlp(x_half, mask, half),
                      test::bf16_error_bound(x_half, mask, half)) == "");
  const auto exact = test::to_dtype(wide, torch::kDouble);
  const auto y_double = expert_mlp(x.to(torch::kDouble), mask, exact);
  CHECK(y_double.scalar_type() == torch::kDouble);
  constexpr double kDoubleUnit = 1.2e-16;  // 2^-53
  CHECK(test::difference(y_double, test::exact_expert_mlp(x, mask, exact),
                         test::rounding_bound(x, exact, kDoubleUnit)) == "");
}

TEST_CASE("expert_mlp: gradients equal the masked dense layer's") {
  torch::manual_seed(13);
  for (const bool gated : {false, true}) {
    const MlpCase c{.rows = 12, .size = 6, .experts = 5, .activation = Activation::gelu_erf, .gated = gated};
    auto w = test::random_weights(c);
    auto x = torch::randn({c.rows, c.d_in}).requires_grad_();
    std::vector<torch::Tensor> inputs = {x};
    for (torch::Tensor* t : {&w.w1, &w.b1, &w.wu, &w.bu, &w.w2t, &w.b2})
      if (t->defined()) inputs.push_back(t->requires_grad_());
    auto mask = test::random_mask(c, 0.5);
    mask.select(1, 2).fill_(false);
    const auto direction = torch::randn({c.rows, c.d_out});
    const auto routed = torch::autograd::grad({(expert_mlp(x, mask, w) * direction).sum()}, inputs);
    const auto dense = torch::autograd::grad({(masked_dense_mlp(x, mask, w) * direction).sum()}, inputs);
    for (size_t i = 0; i < inputs.size(); ++i) {
      INFO("input " << i);
      CHECK(test::difference(routed[i], dense[i], 2e-5) == "");
    }
  }
}
