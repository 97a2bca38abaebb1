#include "d2dmoe/cluster/split_statistics.h"

#include "support/support.h"

using namespace d2dmoe;
using namespace d2dmoe::cluster;

namespace {
const nn::SiteId kFirst{.index = 0, .name = "layers.0.ffn", .layer = 0};
const nn::SiteId kSecond{.index = 1, .name = "layers.1.ffn", .layer = 1};
}  // namespace

TEST_CASE("split statistics: co-activation and rate over batches, one site apart from the other") {
  torch::manual_seed(1);
  SplitStatistics statistics({.coactivation = true, .rate = true}, 1000);
  CHECK(statistics.wants_activations());
  const auto a = torch::relu(torch::randn({30, 8})), b = torch::relu(torch::randn({20, 8}));
  const auto other = torch::relu(torch::randn({5, 4}));
  statistics.on_activation(kFirst, a, a, a);
  statistics.on_activation(kSecond, other, other, other);
  statistics.on_activation(kFirst, b, b, b);
  CHECK(statistics.tokens(0) == 50);
  CHECK(statistics.tokens(1) == 5);
  CHECK_FALSE(statistics.done());
  SplitInput input;
  statistics.fill(input, 0);
  const auto all = torch::cat({a, b});
  CHECK(test::difference(input.coactivation, all.t().mm(all), 1e-4) == "");
  CHECK(test::difference(input.rate, all.gt(0).to(torch::kFloat).mean(0), 1e-6) == "");
  CHECK_FALSE(input.importance.defined());
}

TEST_CASE("split statistics: many neurons are sketched: exactly for few rows, without bias for more") {
  torch::manual_seed(4);
  SplitStatistics statistics({.coactivation = true}, 100000, /*gram_items=*/4);
  const auto h = torch::relu(torch::randn({900, 6}));
  for (int64_t part = 0; part < 3; ++part) {
    const auto rows = h.narrow(0, 300 * part, 300);
    statistics.on_activation(kFirst, rows, rows, rows);
  }
  SplitInput input;
  statistics.fill(input, 0);
  CHECK_FALSE(input.coactivation.defined());
  REQUIRE(input.activity.sizes() == torch::IntArrayRef({6, 900}));
  CHECK(test::difference(input.activity.mm(input.activity.t()), h.t().mm(h), 1e-4, 1e-5) == "");

  const auto more = torch::relu(torch::randn({20000, 6})) * torch::tensor({1, 2, 1, 2, 1, 2});
  statistics.on_activation(kSecond, more, more, more);
  statistics.fill(input, 1);
  REQUIRE(input.activity.sizes() == torch::IntArrayRef({6, kActivityWidth}));
  const auto about = input.activity.mm(input.activity.t()), exact = more.t().mm(more);
  const auto scale = exact.diagonal().sqrt();
  CHECK(((about - exact) / scale.unsqueeze(0) / scale.unsqueeze(1)).abs().max().item<double>() <
        5 / std::sqrt(static_cast<double>(kActivityWidth)));
}

TEST_CASE("split statistics: stops at the number of tokens") {
  torch::manual_seed(2);
  SplitStatistics statistics({.coactivation = true}, 12);
  const auto h = torch::relu(torch::randn({10, 3}));
  statistics.on_activation(kFirst, h, h, h);
  CHECK_FALSE(statistics.done());
  statistics.on_activation(kFirst, h, h, h);
  statistics.on_activation(kFirst, h, h, h);
  CHECK(statistics.done());
  CHECK(statistics.tokens(0) == 12);
  SplitInput input;
  statistics.fill(input, 0);
  const auto seen = torch::cat({h, h.slice(0, 0, 2)});
  CHECK(test::difference(input.coactivation, seen.t().mm(seen), 1e-5) == "");
}

TEST_CASE("split statistics: activity of activations without exact zeros is relative to the row") {
  SplitStatistics statistics({.rate = true}, 10);
  const auto h = torch::tensor({{1.0f, -0.5f, 0.001f}, {2.0f, 0.5f, 0.019f}});
  statistics.on_activation(kFirst, h, h, h);
  SplitInput input;
  statistics.fill(input, 0);
  CHECK(test::difference(input.rate, torch::tensor({1.0f, 1.0f, 0.0f}), 0) == "");
}

TEST_CASE("split statistics: importance is |a * dL/da|, through the real gradient") {
  torch::manual_seed(3);
  SplitStatistics statistics({.importance = true}, 100);
  const auto x = torch::randn({6, 4}), w = torch::randn({5, 4}).requires_grad_(), v = torch::randn({5});
  const auto h = torch::relu(x.mm(w.t()));
  statistics.on_activation(kFirst, h, h, h);
  ((h * v).sum() * 2).backward();
  SplitInput input;
  statistics.fill(input, 0);
  CHECK(test::difference(input.importance, (h.detach() * v * 2).abs().mean(0), 1e-6) == "");
}

TEST_CASE("split statistics: nothing seen, or no gradient, is an error") {
  SplitStatistics statistics({.importance = true}, 100);
  SplitInput input;
  CHECK(test::contains(test::message_of([&] { statistics.fill(input, 0); }), "no activations"));
  const auto h = torch::ones({2, 2});
  statistics.on_activation(kFirst, h, h, h);
  CHECK(test::contains(test::message_of([&] { statistics.fill(input, 0); }), "gradients"));
}
