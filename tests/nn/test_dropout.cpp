#include "d2dmoe/nn/dropout.h"

#include "support/support.h"

using namespace d2dmoe;
using namespace d2dmoe::test;

TEST_CASE("dropout: drops the share p and keeps the expectation") {
  torch::manual_seed(12);
  for (const double p : {0.1, 0.5, 0.9}) {
    const auto y = nn::dropout(torch::ones({400, 1000}), p, true);
    CHECK(y.eq(0).to(torch::kFloat64).mean().item<double>() == Approx(p).margin(0.003));
    CHECK(y.mean().item<double>() == Approx(1).margin(0.02));
    CHECK(y.max().item<double>() == Approx(1 / (1 - p)).epsilon(1e-3));
  }
}

TEST_CASE("dropout: neighbours are dropped independently of each other") {
  torch::manual_seed(13);
  const auto dropped = nn::dropout(torch::ones({1 << 20}), 0.25, true).eq(0).to(torch::kFloat64);
  for (const int64_t lag : {1, 2, 3, 4, 8, 1024}) {
    const int64_t n = dropped.numel() - lag;
    const double both = (dropped.narrow(0, 0, n) * dropped.narrow(0, lag, n)).mean().item<double>();
    CHECK(both == Approx(0.0625).margin(0.002));
  }
}

TEST_CASE("dropout: the gradient passes the elements that the forward pass kept") {
  for (const int64_t size : {0, 1, 3, 5, 40000}) {
    torch::manual_seed(14);
    const auto x = torch::ones({size}).requires_grad_();
    const auto y = nn::dropout(x, 0.3, true);
    const auto upstream = torch::randn({size});
    CHECK(torch::equal(torch::autograd::grad({y}, {x}, {upstream})[0], y.detach() * upstream));
  }
}

TEST_CASE("dropout: the seed decides, the number of threads does not") {
  const auto x = torch::randn({300, 700});
  const auto draw = [&] {
    torch::manual_seed(15);
    return nn::dropout(x, 0.1, true);
  };
  const auto threads = torch::get_num_threads();
  const auto first = draw();
  CHECK_FALSE(torch::equal(first, nn::dropout(x, 0.1, true)));
  torch::set_num_threads(threads == 1 ? 2 : 1);
  CHECK(torch::equal(first, draw()));
  torch::set_num_threads(threads);
}

TEST_CASE("dropout: other dtypes and layouts") {
  const auto half = nn::dropout(torch::ones({64, 64}, torch::kBFloat16), 0.5, true);
  CHECK(half.scalar_type() == torch::kBFloat16);
  CHECK(half.max().item<double>() == 2);
  const auto turned = torch::randn({30, 20}).t();
  const auto y = nn::dropout(turned, 0.5, true);
  CHECK(torch::equal(y, torch::where(y.eq(0), torch::zeros_like(turned), 2 * turned)));
}

TEST_CASE("dropout: off outside training and for p = 0") {
  const auto x = torch::randn({4});
  CHECK(nn::dropout(x, 0.5, false).is_same(x));
  CHECK(nn::dropout(x, 0, true).is_same(x));
  CHECK(nn::dropout(x, -1, true).is_same(x));
}
