#include "d2dmoe/sparsity/penalty.h"

#include "d2dmoe/config/names.h"
#include "support/support.h"

using namespace d2dmoe;
using namespace d2dmoe::test;

namespace {

constexpr double kDisplacement = -1.5;

// docs/method.md §2 as it is written, left to PyTorch's autograd.
torch::Tensor plain(const std::string& name, const torch::Tensor& pre, const torch::Tensor& post) {
  const auto a = name.ends_with("_clamped") ? pre.clamp_min(kDisplacement) - kDisplacement : post;
  if (name.starts_with("l1")) return a.sum(1).mean();
  return (a.abs().sum(1).square() / (a.square().sum(1) + 1e-15)).mean();
}

}  // namespace

TEST_CASE("penalty: every name of the config is known, none other") {
  const auto z = torch::randn({2, 3});
  for (const auto& choice : config::kPenalties)
    if (choice.name != "none") CHECK(sparsity::penalty(std::string(choice.name), z, z.relu(), 0).dim() == 0);
  const auto message = message_of([&] { sparsity::penalty("hoyer", z, z, 0); });
  CHECK(contains(message, "'hoyer'"));
  CHECK(contains(message, "square_hoyer_clamped"));
  CHECK_FALSE(contains(message, "did you mean"));
  CHECK(contains(message_of([] { sparsity::PenaltyObserver("square_hoyr", 0); }),
                 ". Hint: did you mean 'square_hoyer'?"));
  CHECK_FALSE(message_of([] { sparsity::PenaltyObserver("none", 0); }).empty());
}

TEST_CASE("penalty: values and gradients equal those of the plain formula") {
  for (const char* name : {"square_hoyer", "l1", "square_hoyer_clamped", "l1_clamped"})
    for (const auto& shape : std::vector<std::vector<int64_t>>{{1, 1}, {1, 7}, {13, 1}, {5, 33}, {64, 129}}) {
      INFO(name << " " << shape[0] << "x" << shape[1]);
      torch::manual_seed(5);
      const auto z = torch::randn(shape).requires_grad_();
      const auto got = sparsity::penalty(name, z, z.relu(), kDisplacement);
      const auto want = plain(name, z, z.relu());
      CHECK(difference(got, want, 1e-5, 1e-5) == "");
      const auto got_grad = torch::autograd::grad({got * 3}, {z})[0];
      // Where the plain formula divides an all-zero row by 1e-15 its gradient is 0 as well.
      CHECK(difference(got_grad, torch::autograd::grad({want * 3}, {z})[0], 1e-6, 1e-5) == "");
    }
}

TEST_CASE("penalty: square Hoyer lies between one and the width") {
  const auto one = torch::zeros({4, 16});
  one.select(1, 3).fill_(2.5);
  CHECK(sparsity::penalty("square_hoyer", one, one, 0).item<double>() == Approx(1));
  const auto all = torch::full({4, 16}, 0.01);
  CHECK(sparsity::penalty("square_hoyer", all, all, 0).item<double>() == Approx(16));
}

TEST_CASE("penalty: all-zero rows are zero with a finite zero gradient") {
  for (const char* name : {"square_hoyer", "square_hoyer_clamped"}) {
    auto a = torch::full({3, 5}, -20.0);
    a[1].fill_(1);
    const auto leaf = a.clone().requires_grad_();
    const auto value = sparsity::penalty(name, leaf, leaf.relu(), -10);
    CHECK(value.item<double>() == Approx(5.0 / 3));
    const auto grad = torch::autograd::grad({value}, {leaf})[0];
    CHECK(grad.isfinite().all().item<bool>());
    CHECK(grad[0].count_nonzero().item<int64_t>() == 0);
  }
}

TEST_CASE("penalty: no rows give zero") {
  const auto none = torch::zeros({0, 4}).requires_grad_();
  CHECK(sparsity::penalty("square_hoyer", none, none, 0).item<double>() == 0);
}

TEST_CASE("penalty: low precision activations are summed in float32, non-contiguous ones too") {
  torch::manual_seed(6);
  const auto wide = torch::randn({8, 300}).relu().to(torch::kBFloat16);
  const auto got = sparsity::penalty("square_hoyer", wide, wide, 0);
  CHECK(got.scalar_type() == torch::kFloat32);
  CHECK(difference(got, plain("square_hoyer", wide.to(torch::kFloat32), wide.to(torch::kFloat32)), 1e-3) ==
        "");
  const auto leaf = wide.clone().requires_grad_();
  const auto grad = torch::autograd::grad({sparsity::penalty("square_hoyer", leaf, leaf, 0)}, {leaf})[0];
  const auto exact = wide.to(torch::kFloat32).requires_grad_();
  const auto want = torch::autograd::grad({plain("square_hoyer", exact, exact)}, {exact})[0];
  // The plain formula's gradient of |a| at 0 is 0 as well.
  CHECK(difference(grad.to(torch::kFloat32), want, 1e-2 * want.abs().max().item<double>()) == "");
  const auto turned = torch::randn({6, 9}).t();
  CHECK(difference(sparsity::penalty("square_hoyer", turned, turned, 0),
                   plain("square_hoyer", turned.contiguous(), turned.contiguous()), 1e-5) == "");
}

TEST_CASE("penalty observer: mean over the sites that were seen") {
  sparsity::PenaltyObserver observer("l1", 0);
  CHECK_FALSE(observer.mean().defined());
  const auto ones = torch::ones({2, 3});
  observer.on_activation({0, "a", 0}, ones, ones, ones);
  observer.on_activation({2, "c", 2}, ones, 3 * ones, ones);
  CHECK(observer.mean().item<double>() == Approx(6));
  REQUIRE(observer.per_site().size() == 3);
  CHECK_FALSE(observer.per_site()[1].defined());
  observer.reset();
  CHECK_FALSE(observer.mean().defined());
}
