#include "d2dmoe/nn/linear_cross_entropy.h"

#include "support/support.h"

using namespace d2dmoe;
using namespace d2dmoe::test;

namespace {

torch::Tensor plain(const torch::Tensor& hidden, const torch::Tensor& weight, const torch::Tensor& targets,
                    const nn::LinearCrossEntropyOptions& options) {
  auto logits = torch::linear(hidden, weight);
  if (options.softcap > 0) logits = torch::tanh(logits / options.softcap) * options.softcap;
  return at::cross_entropy_loss(logits, targets, {}, at::Reduction::None, -100, options.label_smoothing);
}

}  // namespace

TEST_CASE("linear cross-entropy: equals PyTorch's on all logits at once, with its gradients") {
  for (const double softcap : {0.0, 2.0})
    for (const double smoothing : {0.0, 0.2})
      for (const int64_t chunk : {1, 4, 7, 100}) {
        INFO("softcap " << softcap << ", smoothing " << smoothing << ", chunk " << chunk);
        torch::manual_seed(1);
        const auto targets = torch::tensor({3, -100, 0, 10, 10, -100, 5}, torch::kInt64);
        const nn::LinearCrossEntropyOptions options{softcap, smoothing, chunk};
        const auto factor = torch::randn({7});  // every row's gradient counts differently
        torch::Tensor results[2], grads[2][2];
        for (const int ours : {0, 1}) {
          torch::manual_seed(2);
          auto hidden = torch::randn({7, 6}).requires_grad_(),
               weight = torch::randn({11, 6}).requires_grad_();
          results[ours] = ours ? nn::linear_cross_entropy(hidden, weight, targets, options)
                               : plain(hidden, weight, targets, options);
          (results[ours] * factor).sum().backward();
          grads[ours][0] = hidden.grad();
          grads[ours][1] = weight.grad();
        }
        CHECK(difference(results[1], results[0], 1e-5) == "");
        CHECK(results[1][1].item<float>() == 0);
        CHECK(difference(grads[1][0], grads[0][0], 1e-5) == "");
        CHECK(difference(grads[1][1], grads[0][1], 1e-5) == "");
      }
}

TEST_CASE("linear cross-entropy: no rows, and shapes that do not fit") {
  const auto none =
      nn::linear_cross_entropy(torch::zeros({0, 6}), torch::zeros({11, 6}), torch::zeros({0}, torch::kInt64));
  CHECK(none.numel() == 0);
  CHECK(contains(message_of([] {
                   nn::linear_cross_entropy(torch::zeros({2, 5}), torch::zeros({11, 6}),
                                            torch::zeros({2}, torch::kInt64));
                 }),
                 "must be [N, D] and [V, D]"));
  CHECK(contains(message_of([] {
                   nn::linear_cross_entropy(torch::zeros({2, 6}), torch::zeros({11, 6}), torch::zeros({2}));
                 }),
                 "targets"));
}
