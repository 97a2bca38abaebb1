#include "d2dmoe/nn/linear_distillation.h"

#include <torch/types.h>

#include "d2dmoe/core/error.h"
#include "support/support.h"

using namespace d2dmoe;
using namespace d2dmoe::test;

namespace {

/// The same by PyTorch's own functions and gradients, all logits at once.
torch::Tensor whole(const torch::Tensor& hidden, const torch::Tensor& weight, const torch::Tensor& teacher,
                    const torch::Tensor& row_weights, double t, double softcap) {
  auto logits = at::linear(hidden, weight);
  if (softcap > 0) logits = at::tanh(logits / softcap) * softcap;
  const auto rows =
      torch::kl_div((logits / t).log_softmax(-1), (teacher / t).log_softmax(-1), at::Reduction::None,
                    /*log_target=*/true)
          .sum(-1);
  return (rows * row_weights).sum() * t * t;
}

}  // namespace

TEST_CASE("linear distillation: value and gradients equal PyTorch's") {
  torch::manual_seed(5);
  for (const double softcap : {0.0, 2.5}) {
    for (const int64_t chunk : {1, 4, 100}) {
      CAPTURE(softcap, chunk);
      auto hidden = torch::randn({13, 8}).requires_grad_(), weight = torch::randn({21, 8}).requires_grad_();
      const auto teacher = torch::randn({13, 21}), row_weights = torch::rand({13});
      const auto want = whole(hidden, weight, teacher, row_weights, 1.7, softcap);
      const auto want_grads = torch::autograd::grad({want * 3}, {hidden, weight});
      const auto got = nn::linear_distillation(
          hidden, weight, [&](int64_t from, int64_t rows) { return teacher.narrow(0, from, rows); },
          row_weights, {.temperature = 1.7, .softcap = softcap, .chunk = chunk});
      const auto grads = torch::autograd::grad({got * 3}, {hidden, weight});
      CHECK(got.item<double>() == Approx(want.item<double>()).epsilon(1e-5));
      CHECK(difference(grads[0], want_grads[0], 1e-5) == "");
      CHECK(difference(grads[1], want_grads[1], 1e-5) == "");
    }
  }
}

TEST_CASE("linear distillation: nothing to learn from itself, and shapes that do not fit") {
  const auto hidden = torch::randn({3, 4}), weight = torch::randn({5, 4});
  const auto itself = [&](int64_t from, int64_t rows) {
    return at::linear(hidden.narrow(0, from, rows), weight);
  };
  CHECK(nn::linear_distillation(hidden, weight, itself, torch::ones({3})).item<double>() ==
        Approx(0).margin(1e-6));
  const auto other = [](int64_t, int64_t rows) { return torch::zeros({rows, 6}); };
  CHECK(contains(message_of([&] { nn::linear_distillation(hidden, weight, other, torch::ones({3})); }),
                 "vocabulary"));
  CHECK_THROWS_AS(nn::linear_distillation(hidden, weight, itself, torch::ones({2})), Error);
}
