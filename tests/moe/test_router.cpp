#include "d2dmoe/moe/router.h"

#include <torch/optim/adam.h>

#include "d2dmoe/moe/router_optimizer.h"
#include "support/support.h"

using namespace d2dmoe;
using namespace d2dmoe::test;

TEST_CASE("router: two linear layers, ReLU between, absolute value at the end") {
  const moe::Router router(6, 5, 2, 4, 7);
  torch::manual_seed(1);
  const auto x = torch::randn({9, 6});
  const auto& w = router.weights();
  const auto want = torch::relu(x.mm(w[0].t())).mm(w[1].t()).abs();
  CHECK(difference(router.forward(x), want, 1e-6) == "");
  const torch::NoGradGuard no_grad;
  CHECK(difference(router.forward(x), want, 1e-6) == "");
  CHECK(router.forward(x.to(torch::kBFloat16)).scalar_type() == torch::kFloat32);
  CHECK(router.forward(x.narrow(0, 0, 0)).sizes() == std::vector<int64_t>{0, 4});
  CHECK(router.flops_per_token() == 2 * (6 * 5 + 5 * 4));
}

TEST_CASE("router: an in-place path must leave the input alone") {
  const moe::Router router(6, 5, 1, 4, 7);
  const torch::NoGradGuard no_grad;
  const auto x = torch::randn({9, 6});
  const auto before = x.clone();
  router.forward(x);
  CHECK(torch::equal(x, before));
}

TEST_CASE("router: weights come from the seed, within ±1/sqrt(fan in)") {
  const moe::Router a(100, 16, 3, 8, 5), b(100, 16, 3, 8, 5), c(100, 16, 3, 8, 6);
  REQUIRE(a.weights().size() == 3);
  for (size_t i = 0; i < 3; ++i) {
    CHECK(torch::equal(a.weights()[i], b.weights()[i]));
    CHECK_FALSE(torch::equal(a.weights()[i], c.weights()[i]));
  }
  CHECK(a.weights()[0].abs().max().item<float>() <= 0.1f);
  CHECK(a.weights()[0].abs().max().item<float>() > 0.09f);
  CHECK(a.named_parameters().contains("weight2"));
  CHECK(contains(message_of([] { moe::Router(4, 0, 2, 3, 1); }), "width 0"));
}

TEST_CASE("router: hand-written gradients equal autograd's at every depth") {
  for (const auto& [depth, by_row] :
       std::vector<std::pair<int64_t, bool>>{{1, false}, {2, false}, {3, false}, {2, true}}) {
    CAPTURE(depth, by_row);
    auto router = std::make_shared<moe::Router>(7, 6, depth, 5, 3);
    const moe::RouterLearner learner(router, by_row ? moe::RouterLoss::row : moe::RouterLoss::mse);
    torch::manual_seed(2);
    const auto x = torch::randn({11, 7}), targets = torch::rand({11, 5});
    torch::Tensor loss;
    const auto gradients = learner.gradients(x, targets, loss);
    auto squares = (router->forward(x) - targets).square();
    if (by_row) squares = squares / (targets.square().mean(1, true) + 1e-3);
    const auto reference = squares.mean();
    reference.backward();
    CHECK(difference(loss, reference, 1e-6) == "");
    for (size_t i = 0; i < gradients.size(); ++i) {
      CHECK(difference(gradients[i], router->weights()[i].grad(), 1e-6) == "");
    }
  }
}

TEST_CASE("router: bfloat16 inputs give the same gradients, rounded") {
  const moe::RouterLearner learner(std::make_shared<moe::Router>(32, 16, 2, 5, 3));
  torch::manual_seed(2);
  const auto x = torch::randn({2048, 32}).to(torch::kBFloat16), targets = torch::rand({2048, 5});
  torch::Tensor loss, rounded_loss;
  const auto exact = learner.gradients(x.to(torch::kFloat32), targets, loss);
  const auto rounded = learner.gradients(x, targets, rounded_loss);
  CHECK(difference(rounded_loss, loss, 0, 0.01) == "");
  for (size_t i = 0; i < exact.size(); ++i) {
    CHECK(rounded[i].scalar_type() == torch::kFloat32);
    // Not entry by entry: where a prediction is about 0, rounding turns its sign and with it the row's
    // gradient.
    CHECK((rounded[i] - exact[i]).norm().item<double>() < 0.05 * exact[i].norm().item<double>());
  }
}

TEST_CASE("router: steps equal torch's Adam") {
  auto ours = std::make_shared<moe::Router>(7, 6, 2, 5, 3),
       theirs = std::make_shared<moe::Router>(7, 6, 2, 5, 3);
  moe::RouterLearner learner(ours);
  torch::optim::Adam adam(theirs->parameters(), torch::optim::AdamOptions(1e-2));
  torch::manual_seed(4);
  for (int step = 0; step < 10; ++step) {
    const auto x = torch::randn({32, 7}), targets = torch::rand({32, 5});
    learner.step(x, targets, 1e-2);
    adam.zero_grad();
    torch::mse_loss(theirs->forward(x), targets).backward();
    adam.step();
  }
  for (size_t i = 0; i < 2; ++i) CHECK(difference(ours->weights()[i], theirs->weights()[i], 1e-5) == "");
}
