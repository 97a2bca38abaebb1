#include "d2dmoe/kernels/active_share.h"
#include "d2dmoe/kernels/break_even.h"

#include <cmath>
#include <thread>

#include "d2dmoe/core/error.h"
#include "kernels/cuda_emulated.h"

using namespace d2dmoe;
using namespace d2dmoe::kernels;
using test::MlpCase;

TEST_CASE("break-even: the crossing share of a table made by hand") {
  const std::vector<double> shares = {0.125, 0.25, 0.5, 1}, routed = {1, 2, 4, 8};
  const auto crossing = [&](double dense) { return crossing_share(shares, routed, dense); };
  CHECK(crossing(0.99) == 0);  // slower at every share
  for (size_t i = 0; i + 1 < shares.size(); ++i) CHECK(crossing(routed[i]) == shares[i]);
  CHECK(crossing(1.5) == 0.1875);
  CHECK(crossing(3) == 0.375);
  CHECK(crossing(7) == 0.875);
  CHECK(crossing(8) == 2);  // not slower with every expert
  CHECK(crossing(100) == 2);
  // Times that fall in between: the last share counts.
  CHECK(crossing_share(shares, {1, 5, 2, 4}, 3) == 0.75);
  CHECK(crossing_share(shares, {5, 5, 5, 2}, 3) == 2);
  CHECK(crossing_share({1}, {2}, 2) == 2);
  CHECK(crossing_share({1}, {2}, 1) == 0);
}

TEST_CASE("break-even: measured once, the same for every thread that asks") {
  torch::manual_seed(15);
  const MlpCase c{.rows = 16, .d_in = 64, .size = 16, .experts = 8, .d_out = 64};
  const auto w = test::random_weights(c);
  const double share = break_even_share(w, c.experts, 16);
  CHECK(share >= 0);
  CHECK(share <= 2);
  std::vector<double> seen(4);
  std::vector<std::thread> threads;
  for (size_t i = 0; i < seen.size(); ++i)
    threads.emplace_back([&, i] { seen[i] = break_even_share(w, c.experts, 9 + static_cast<int64_t>(i)); });
  for (auto& thread : threads) thread.join();
  for (const double other : seen) CHECK(other == share);  // 9 … 12 rows: the bucket of 16
}

TEST_CASE("break-even: the active share is that of ReLU in chosen experts, and 1 of what has no zeros") {
  torch::manual_seed(19);
  MlpCase c{.rows = 100, .d_in = 24, .size = 4, .experts = 6, .d_out = 24};
  auto w = test::random_weights(c);
  const auto x = torch::randn({c.rows, c.d_in});
  const auto mask = test::random_mask(c, 0.4);
  const auto first = at::linear(x, w.w1, w.b1).narrow(0, 0, kActiveRows).view({kActiveRows, 6, 4});
  const auto chosen = mask.narrow(0, 0, kActiveRows).unsqueeze(2).expand_as(first);
  const double want = first.masked_select(chosen).gt(0).to(torch::kDouble).mean().item<double>();
  CHECK(std::abs(active_share(x, mask, w) - want) < 1e-6);
  CHECK(active_share(x, torch::zeros_like(mask), w) == 1);
  w.b1 = torch::full_like(w.b1, -1e3);
  CHECK(active_share(x, mask, w) == 0);
  CHECK(active_share(x.narrow(0, 0, 0), mask.narrow(0, 0, 0), w) == 1);
  w.activation = Activation::silu;
  CHECK(active_share(x, mask, w) == 1);
}

TEST_CASE("break-even: leaves the random generators alone") {
  const MlpCase c{.rows = 4, .d_in = 48, .size = 4, .experts = 4, .d_out = 48};
  const auto w = test::random_weights(c);
  torch::manual_seed(16);
  const auto want = torch::randn({3});
  torch::manual_seed(16);
  break_even_share(w, c.experts, 3);
  CHECK(torch::equal(torch::randn({3}), want));
}

TEST_CASE("break-even: the automatic path computes the same function either way") {
  torch::manual_seed(17);
  const MlpCase c{.rows = 40, .d_in = 64, .size = 8, .experts = 16, .d_out = 64};
  auto w = test::random_weights(c);
  const auto x = torch::randn({c.rows, c.d_in});
  for (const double share : {0.0, 0.02, 0.3, 0.9, 1.0}) {
    INFO("share " << share);
    const auto mask = test::random_mask(c, share);
    bool dense = false;
    const auto y = expert_mlp_auto(x, mask, w, &dense);
    CHECK(test::difference(y, expert_mlp_reference(x, mask, w), test::rounding_bound(x, w)) == "");
    if (share == 0) CHECK_FALSE(dense);
    if (share == 1) CHECK(dense == (break_even_share(w, c.experts, c.rows) < 1));
  }
  CHECK(expert_mlp_auto(x.slice(0, 0, 0), torch::ones({0, 16}, torch::kBool), w, nullptr).size(0) == 0);
  // Known pairs are not counted again, and the other way round.
  const auto mask = test::random_mask(c, 0.3);
  CHECK(torch::equal(expert_mlp_auto(x, mask, w, nullptr, mask.sum().item<int64_t>()),
                     expert_mlp_auto(x, mask, w, nullptr)));
  w.w1.requires_grad_();
  CHECK(expert_mlp_auto(x, test::random_mask(c, 0.1), w, nullptr).requires_grad());
}

TEST_CASE("break-even: either way of training has the same gradients") {
  torch::manual_seed(18);
  const MlpCase c{.rows = 64, .d_in = 96, .size = 8, .experts = 16, .d_out = 96};
  auto w = test::random_weights(c);
  for (const Pass pass : {Pass::inference, Pass::training}) {
    const double share = break_even_share(w, c.experts, c.rows, pass);
    CHECK(share >= 0);
    CHECK(share <= 2);
    CHECK(break_even_share(w, c.experts, c.rows, pass) == share);
  }
  const auto x = torch::randn({c.rows, c.d_in}), direction = torch::randn({c.rows, c.d_out});
  for (const double share : {0.0, 0.1, 0.9, 1.0}) {
    const auto mask = test::random_mask(c, share);
    const auto gradient = [&](auto layer) {
      auto leaf = w;
      leaf.w1 = w.w1.detach().clone().requires_grad_();
      return torch::autograd::grad({layer(leaf)}, {leaf.w1}, {direction})[0];
    };
    CHECK(test::difference(
              gradient([&](const MlpWeights& v) { return expert_mlp_auto(x, mask, v, nullptr); }),
              gradient([&](const MlpWeights& v) { return masked_dense_mlp(x, mask, v); }), 1e-4, 1e-5) == "");
  }
}

TEST_CASE("break-even: a repeatable choice is by the share alone") {
  torch::manual_seed(21);
  const MlpCase c{.rows = 32, .d_in = 32, .size = 16, .experts = 8, .d_out = 32};
  const auto w = test::random_weights(c);
  const auto x = torch::randn({c.rows, c.d_in});
  const auto ran_dense = [&](int64_t chosen, const MlpWeights& weights) {
    auto mask = torch::zeros({c.rows, c.experts}, torch::kBool);
    mask.narrow(1, 0, chosen).fill_(true);
    bool dense = false;
    expert_mlp_auto(x, mask, weights, &dense);
    return dense;
  };
  const RepeatableChoice repeatable;
  CHECK_FALSE(ran_dense(5, w));  // 0.625
  CHECK(ran_dense(6, w));
  auto trained = w;
  trained.w1 = w.w1.clone().requires_grad_(true);
  CHECK_FALSE(ran_dense(4, trained));  // 0.5
  CHECK(ran_dense(5, trained));
  CHECK_THROWS_AS(RepeatableChoice(), Error);
}

TEST_CASE("break-even: on a device: one figure a device and shape, and the same function either way",
          "[cuda]") {
  if (!test::on_a_device()) return;
  const torch::NoGradGuard no_grad;
  torch::manual_seed(8);
  const MlpCase c{.rows = 300, .d_in = 64, .size = 64, .experts = 8, .d_out = 64};
  for (const auto type : {torch::kFloat, torch::kBFloat16}) {
    const auto w = test::on_gpu(test::to_dtype(test::random_weights(c), type));
    const double share = break_even_share(w, c.experts, c.rows);
    CHECK((share >= 0 && share <= 2));
    CHECK(break_even_share(w, c.experts, 256) == share);  // the power of two at or below
    CHECK(break_even_share(w, c.experts, 511) == share);
    const auto x = torch::randn({c.rows, c.d_in}, torch::kCUDA).to(type);
    for (const double chosen : {0.05, 1.0}) {
      const auto mask = test::random_mask(c, chosen).cuda();
      const double exact = mask.to(torch::kFloat).mean().item<double>();
      bool dense = false;
      const auto y = expert_mlp_auto(x, mask, w, &dense);
      CHECK(dense == (exact > share));
      const auto other = dense ? expert_mlp(x, mask, w) : masked_dense_mlp(x, mask, w);
      const double bound = type == torch::kFloat ? 1e-5 : 0.03;
      CHECK((y - other).abs().max().item<double>() <= bound * y.abs().max().item<double>());
      // What the caller says of the pairs decides.
      expert_mlp_auto(x, mask, w, &dense, 1);
      CHECK(dense == (share == 0));
    }
  }
}
