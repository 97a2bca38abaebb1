#include <algorithm>

#include "d2dmoe/moe/router_quality.h"
#include "d2dmoe/moe/selection.h"
#include "support/support.h"

using namespace d2dmoe;
using namespace d2dmoe::test;

TEST_CASE("router quality: captured norm mass equals a count by hand") {
  torch::manual_seed(3);
  const auto norms = torch::rand({50, 8}), predicted = torch::rand({50, 8});
  const auto captured = moe::captured_norm_mass(predicted, norms, {0.1, 0.5, 1.0});
  REQUIRE(captured.size() == 3);
  // The tau that executes exactly 40 of 400: the 40th largest ratio.
  const auto by_tau = [&](const torch::Tensor& scores, int64_t count) {
    const auto ratio = scores / scores.amax(1, true);
    const auto tau = std::get<0>(ratio.flatten().sort(0, true))[count - 1].item<float>();
    const auto mask = ratio >= tau;
    REQUIRE(mask.sum().item<int64_t>() == std::max<int64_t>(count, 50));  // every row's best has ratio 1
    return (norms * mask).sum().item<double>() / norms.sum().item<double>();
  };
  CHECK(captured[1].router == Approx(by_tau(predicted, 200)).epsilon(1e-5));
  CHECK(captured[1].oracle == Approx(by_tau(norms, 200)).epsilon(1e-5));
  CHECK(captured[1].oracle > captured[1].router);
  CHECK(captured[2].router == Approx(1));
  CHECK(captured[0].oracle <= captured[1].oracle);
}

TEST_CASE("router quality: error against the mean, use of experts") {
  const moe::Router router(4, 1, 1, 3, 1);
  torch::manual_seed(5);
  const auto x = torch::randn({20, 4});
  torch::NoGradGuard no_grad;
  auto targets = router.forward(x);
  targets.select(1, 2).zero_();
  const auto mean = targets.mean(0);
  const auto quality = moe::router_quality(router, x, targets, mean);
  CHECK(quality.mse == Approx((router.forward(x) - targets).square().mean().item<double>()).epsilon(1e-5));
  CHECK(quality.mse_of_mean == Approx((targets - mean).square().mean().item<double>()).epsilon(1e-5));
  CHECK(quality.expert_use[0] == 1);
  CHECK(quality.expert_use[2] == 0);
  CHECK(quality.captured.size() == moe::captured_shares().size());

  const auto none = moe::router_quality(router, x.narrow(0, 0, 0), targets.narrow(0, 0, 0), mean);
  CHECK(none.rows == 0);
  CHECK(none.expert_use.size() == 3);
  // Norms that are all zero capture nothing, and divide nothing by zero.
  CHECK(moe::router_quality(router, x, torch::zeros_like(targets), mean).captured[2].oracle == 0);
}
