#include "d2dmoe/eval/evaluate.h"

#include <torch/nn/functional/loss.h>

#include "d2dmoe/core/error.h"
#include "support/support.h"
#include "tiny.h"

using namespace d2dmoe;
using namespace d2dmoe::test;

TEST_CASE("evaluate: results stand in the order of the data set, whatever the batches") {
  const auto model = tiny_model();
  const auto dataset = tiny_dataset(13);
  eval::EvaluateOptions options;
  options.batch_size = 4;
  const auto whole = eval::evaluate(*model, dataset, options);
  REQUIRE(whole.logits.sizes() == torch::IntArrayRef({13, 3}));
  CHECK(whole.tokens == dataset.tokens());
  for (int64_t i = 0; i < dataset.size(); ++i) {
    const auto alone = eval::evaluate(*model, dataset.pick({i}), {});
    CHECK(difference(whole.logits[i], alone.logits[0], 1e-5) == "");
    CHECK(whole.labels[i].item<double>() == dataset.label(i));
  }
  const auto loss = torch::nn::functional::cross_entropy(whole.logits, whole.labels.to(torch::kInt64));
  CHECK(whole.loss == Approx(loss.item<double>()).epsilon(1e-5));
}

TEST_CASE("evaluate: runs without dropout and gradients, and leaves the model's mode as it was") {
  const auto model = tiny_model();
  const auto dataset = tiny_dataset(5);
  model->train();
  const auto first = eval::evaluate(*model, dataset, {});
  CHECK(model->is_training());
  CHECK_FALSE(first.logits.requires_grad());
  CHECK(torch::equal(first.logits, eval::evaluate(*model, dataset, {}).logits));
  model->eval();
  eval::evaluate(*model, dataset, {});
  CHECK_FALSE(model->is_training());

  model->train();
  eval::EvaluateOptions failing;
  failing.on_batch = [](const data::Batch&) { throw Error("stop"); };
  CHECK(message_of([&] { eval::evaluate(*model, dataset, failing); }) == "stop");
  CHECK(model->is_training());
}

TEST_CASE("evaluate: a selection overrides the sites' own, observers see every batch") {
  const auto model = tiny_model();
  convert_all(*model, 8);
  const auto dataset = tiny_dataset(6);
  const auto all = eval::evaluate(*model, dataset, {});
  const moe::Selection best{"dynamic_k", 1.0, 0};
  eval::EvaluateOptions options;
  options.selection = &best;
  int64_t batches = 0;
  options.batch_size = 2;
  options.on_batch = [&](const data::Batch& batch) { batches += batch.size(); };
  CHECK_FALSE(torch::allclose(all.logits, eval::evaluate(*model, dataset, options).logits, 1e-3, 1e-3));
  CHECK(batches == 6);
}

TEST_CASE("evaluate: what does not fit is refused") {
  const auto model = tiny_model();
  const auto numbers = relabelled(tiny_dataset(2), {0, 1}, data::Task::regression);
  CHECK(contains(message_of([&] { eval::evaluate(*model, {}, {}); }), "no examples"));
  CHECK(contains(message_of([&] { eval::evaluate(*model, numbers, {}); }), "3 outputs"));
  const auto dataset = relabelled(tiny_dataset(2), {0, 7});
  CHECK(contains(message_of([&] { eval::evaluate(*model, dataset, {}); }), "class id 7"));
}

TEST_CASE("evaluate: regression has the mean squared error as its loss") {
  const auto model = tiny_model(1);
  const auto dataset = relabelled(tiny_dataset(7), std::vector<double>(7, 0.25), data::Task::regression);
  const auto out = eval::evaluate(*model, dataset, {});
  CHECK(out.loss == Approx((out.logits.select(1, 0) - 0.25).square().mean().item<double>()).epsilon(1e-5));
}
