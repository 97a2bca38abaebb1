#include "d2dmoe/kernels/expert_mlp_gradient.h"

#include "kernels/mlp_cases.h"

using namespace d2dmoe;
using namespace d2dmoe::kernels;
using test::MlpCase;

namespace {

std::vector<torch::Tensor*> parts(MlpWeights& w) {
  std::vector<torch::Tensor*> list;
  for (torch::Tensor* t : {&w.w1, &w.b1, &w.wu, &w.bu, &w.w2t, &w.b2})
    if (t->defined()) list.push_back(t);
  return list;
}

/// x and the weights as leaves that want gradients.
struct Leaves {
  MlpWeights w;
  std::vector<torch::Tensor> list;  // x first
  Leaves(const torch::Tensor& x, const MlpWeights& from, torch::ScalarType dtype)
      : w(test::to_dtype(from, dtype)) {
    list.push_back(x.to(dtype).detach().clone().requires_grad_());
    for (torch::Tensor* t : parts(w)) list.push_back(*t = t->detach().clone().requires_grad_());
  }
};

/// Gradients by autograd's own rules, of the masked dense layer in float64.
std::vector<torch::Tensor> expected(const torch::Tensor& x, const torch::Tensor& mask, const MlpWeights& w,
                                    const torch::Tensor& direction) {
  Leaves exact(x, w, torch::kDouble);
  const auto y = masked_dense_mlp(exact.list[0], mask, exact.w);
  return torch::autograd::grad({y}, exact.list, {direction.to(torch::kDouble)});
}

void check_gradients(const MlpCase& c, const torch::Tensor& mask) {
  INFO(c.text());
  const auto w = test::random_weights(c);
  const auto x = torch::randn({c.rows, c.d_in}), direction = torch::randn({c.rows, c.d_out});
  Leaves leaves(x, w, torch::kFloat);
  const auto y = expert_mlp(leaves.list[0], mask, leaves.w);
  const auto got = torch::autograd::grad({y}, leaves.list, {direction});
  const auto want = expected(x, mask, w, direction);
  for (size_t i = 0; i < got.size(); ++i) {
    INFO("input " << i);
    // Sums over rows and neurons of terms of size 1, each rounded in float32.
    const double size = want[i].numel() ? want[i].abs().max().item<double>() : 0;
    CHECK(test::difference(got[i], want[i].to(torch::kFloat), 1e-6 + 5e-6 * size) == "");
  }
}

}  // namespace

TEST_CASE("expert_mlp gradient: equals autograd through the dense layer in float64, every activation") {
  torch::manual_seed(30);
  for (const Activation a : test::kActivations)
    for (const bool gated : {false, true})
      for (const bool biases : {false, true}) {
        const MlpCase c{.rows = 21,
                        .size = 6,
                        .experts = 5,
                        .d_out = 29,
                        .activation = a,
                        .gated = gated,
                        .biases = biases};
        check_gradients(c, test::random_mask(c, 0.4));
      }
}

TEST_CASE("expert_mlp gradient: no, one, all experts; rows without any; sizes 0 and 1; one hot expert") {
  torch::manual_seed(31);
  const MlpCase c{.rows = 13, .size = 5, .experts = 6};
  for (const double share : {0.0, 0.1, 1.0}) check_gradients(c, test::random_mask(c, share));
  auto hot = test::random_mask(c, 0.05);
  hot.select(1, 3).fill_(true);
  check_gradients(c, hot);
  auto gaps = test::random_mask(c, 0.5);
  gaps.slice(0, 0, c.rows, 2).fill_(false);
  gaps.select(1, 0).fill_(false);
  check_gradients(c, gaps);
  for (const int64_t rows : {0, 1, 2})
    for (const int64_t size : {1, 3, 33}) {
      const MlpCase small{.rows = rows, .size = size, .experts = 3};
      check_gradients(small, test::random_mask(small, 0.6));
    }
}

TEST_CASE("expert_mlp gradient: agrees with finite differences of the reference") {
  torch::manual_seed(32);
  for (const bool gated : {false, true}) {
    const MlpCase c{.rows = 4,
                    .d_in = 3,
                    .size = 2,
                    .experts = 3,
                    .d_out = 3,
                    .activation = Activation::gelu_erf,
                    .gated = gated};
    const auto w = test::random_weights(c);
    const auto x = torch::randn({c.rows, c.d_in}), direction = torch::randn({c.rows, c.d_out});
    const auto mask = test::random_mask(c, 0.6);
    Leaves leaves(x, w, torch::kFloat), exact(x, w, torch::kDouble);
    const auto got =
        torch::autograd::grad({expert_mlp(leaves.list[0], mask, leaves.w)}, leaves.list, {direction});
    const torch::NoGradGuard no_grad;
    const auto value = [&] {
      return (expert_mlp_reference(exact.list[0], mask, exact.w) * direction.to(torch::kDouble))
          .sum()
          .item<double>();
    };
    constexpr double kStep = 1e-5;
    for (size_t i = 0; i < got.size(); ++i) {
      auto flat = exact.list[i].view(-1);
      for (int64_t j = 0; j < flat.size(0); ++j) {
        const double here = flat[j].item<double>();
        flat[j].fill_(here + kStep);
        const double above = value();
        flat[j].fill_(here - kStep);
        const double below = value();
        flat[j].fill_(here);
        INFO("input " << i << ", element " << j);
        CHECK(got[i].reshape(-1)[j].item<double>() ==
              test::Approx((above - below) / (2 * kStep)).margin(2e-5).epsilon(1e-4));
      }
    }
  }
}

TEST_CASE("expert_mlp gradient: only what is wanted is computed") {
  torch::manual_seed(33);
  for (const bool gated : {false, true}) {
    const MlpCase c{.rows = 9, .size = 4, .experts = 4, .gated = gated};
    const auto w = test::random_weights(c);
    const auto x = torch::randn({c.rows, c.d_in}), direction = torch::randn({c.rows, c.d_out});
    const auto mask = test::random_mask(c, 0.5);
    const auto want = expected(x, mask, w, direction);
    for (size_t only = 0; only < want.size(); ++only) {
      INFO("input " << only << (gated ? ", gated" : ""));
      Leaves leaves(x, w, torch::kFloat);
      for (size_t i = 0; i < leaves.list.size(); ++i) leaves.list[i].requires_grad_(i == only);
      expert_mlp(leaves.list[0], mask, leaves.w).backward(direction);
      for (size_t i = 0; i < leaves.list.size(); ++i) CHECK(leaves.list[i].grad().defined() == (i == only));
      CHECK(test::difference(leaves.list[only].grad(), want[only].to(torch::kFloat), 2e-5, 1e-5) == "");
    }
    const auto nothing = expert_mlp_backward(direction, x, mask, w, {});
    for (const torch::Tensor& t :
         {nothing.x, nothing.w1, nothing.b1, nothing.wu, nothing.bu, nothing.w2t, nothing.b2})
      CHECK_FALSE(t.defined());
  }
}

TEST_CASE("expert_mlp gradient: the same bytes at every run, strided operands too") {
  torch::manual_seed(34);
  const MlpCase c{.rows = 300, .d_in = 40, .size = 8, .experts = 12, .d_out = 24};
  const auto w = test::random_weights(c);
  const auto x = torch::randn({c.d_in, c.rows}).t(), dy = torch::randn({c.d_out, c.rows}).t();
  const auto mask = torch::rand({c.experts, c.rows}).lt(0.2).t();
  const MlpWanted all{true, true, true, true, true, true, true};
  const auto first = expert_mlp_backward(dy, x, mask, w, all);
  for (int i = 0; i < 5; ++i) {
    const auto again = expert_mlp_backward(dy, x, mask, w, all);
    CHECK(torch::equal(again.x, first.x));
    CHECK(torch::equal(again.w1, first.w1));
    CHECK(torch::equal(again.w2t, first.w2t));
  }
  const auto packed = expert_mlp_backward(dy.contiguous(), x.contiguous(), mask.contiguous(), w, all);
  CHECK(test::difference(first.x, packed.x, 1e-5) == "");
  CHECK(test::difference(first.w1, packed.w1, 1e-4) == "");
}

TEST_CASE("expert_mlp gradient: can be differentiated again") {
  torch::manual_seed(35);
  const MlpCase c{.rows = 5, .d_in = 6, .size = 3, .experts = 4, .d_out = 6, .activation = Activation::tanh};
  const auto w = test::random_weights(c);
  const auto x = torch::randn({c.rows, c.d_in});
  const auto mask = test::random_mask(c, 0.5);
  const auto second = [&](auto layer, torch::ScalarType dtype) {
    Leaves leaves(x, w, dtype);
    const auto y = layer(leaves.list[0], mask, leaves.w);
    const auto dx = torch::autograd::grad({y.square().sum()}, {leaves.list[0]}, {}, true, true)[0];
    return torch::autograd::grad({dx.square().sum()}, {leaves.w.w1})[0];
  };
  CHECK(test::difference(second(expert_mlp, torch::kFloat),
                         second(masked_dense_mlp, torch::kDouble).to(torch::kFloat), 1e-4, 1e-4) == "");
}

TEST_CASE("expert_mlp gradient: what is refused") {
  const MlpCase c{.rows = 3, .size = 2, .experts = 2};
  const auto w = test::random_weights(c);
  const auto mask = torch::ones({3, 2}, torch::kBool);
  const auto refused = [&](const torch::Tensor& dy, const torch::Tensor& x, const MlpWeights& weights) {
    return test::message_of([&] { expert_mlp_backward(dy, x, mask, weights, {}); });
  };
  const auto x = torch::ones({3, c.d_in});
  CHECK(test::contains(refused(torch::ones({3, 7}), x, w), "'dy'"));
  CHECK(test::contains(refused(torch::ones({2, c.d_out}), x, w), "'dy'"));
  CHECK(test::contains(refused(torch::ones({3, c.d_out}, torch::kDouble), x.to(torch::kDouble),
                               test::to_dtype(w, torch::kDouble)),
                       "float32 on the CPU"));
}
