#include "d2dmoe/eval/conversion_check.h"

#include <cmath>
#include <limits>

#include "d2dmoe/core/error.h"
#include "d2dmoe/eval/setting.h"
#include "support/support.h"
#include "tiny.h"

using namespace d2dmoe;
using namespace d2dmoe::test;

TEST_CASE("conversion check: all experts, one by one or at once, are the dense weights") {
  const auto model = tiny_model();
  const auto dataset = tiny_dataset(12);
  convert_all(*model, 8, 1);
  const auto layer = model->sites()[1]->layer();
  const auto error = eval::conversion_error(*model, eval::conversion_batch(dataset, torch::kCPU));
  CHECK(error.selection_all <= 1e-5 * std::max(1.0, error.scale));
  CHECK(error.experts <= 1e-5 * std::max(1.0, error.scale));
  CHECK(error.scale > 0);
  CHECK(model->sites()[1]->layer() == layer);  // the converted layers are back in place
  CHECK(model->is_training());                 // and so is its mode
  eval::check_conversion(*model, dataset, torch::kCPU);
}

TEST_CASE("conversion check: beside the dense model's logits, a change of the function is seen") {
  const auto model = tiny_model();
  const auto batch = eval::conversion_batch(tiny_dataset(12), torch::kCPU);
  torch::Tensor dense;
  {
    const torch::NoGradGuard no_grad;
    const eval::EvaluationMode mode(*model);
    nn::ForwardContext ctx(batch);
    dense = model->forward(batch, ctx);
  }
  convert_all(*model, 8, 1);
  const auto good = eval::conversion_error(*model, batch, dense);
  CHECK(good.scale == dense.abs().max().item<double>());
  CHECK(good.worst() <= 1e-5 * std::max(1.0, good.scale));
  CHECK(good.worst() <= eval::conversion_tolerance(*model) * good.scale);
  {
    const torch::NoGradGuard no_grad;
    model->sites()[0]->layer()->weights().w1.mul_(1.1);
  }
  const auto bad = eval::conversion_error(*model, batch, dense);
  CHECK(bad.selection_all > eval::conversion_tolerance(*model) * bad.scale);
  CHECK(bad.experts > eval::conversion_tolerance(*model) * bad.scale);
  // The new weights still agree with themselves, which is all that a folder can be asked.
  const auto own = eval::conversion_error(*model, batch);
  CHECK(own.worst() <= 1e-5 * std::max(1.0, own.scale));
}

TEST_CASE("conversion check: the batch is small, whatever the data") {
  CHECK(eval::conversion_batch(tiny_dataset(50), torch::kCPU).size() == 32);
  CHECK(eval::conversion_batch(tiny_dataset(3), torch::kCPU).size() == 3);
}

TEST_CASE("conversion check: the worst of two differences, NaN from either") {
  const double nan = std::numeric_limits<double>::quiet_NaN();
  CHECK(eval::ConversionError{1, 2, 0}.worst() == 2);
  CHECK(eval::ConversionError{3, 2, 0}.worst() == 3);
  CHECK(std::isnan(eval::ConversionError{1, nan, 0}.worst()));
  CHECK(std::isnan(eval::ConversionError{nan, 2, 0}.worst()));
}

TEST_CASE("conversion check: a model that is not its dense weights is refused") {
  /// A layer whose experts answer something else than its weights do.
  class Wrong : public moe::ExpertFeedForward {
   public:
    using moe::ExpertFeedForward::ExpertFeedForward;
    torch::Tensor forward(const torch::Tensor& x, const nn::SiteId& site, nn::ForwardContext& ctx) override {
      return 1.5 * moe::ExpertFeedForward::forward(x, site, ctx);
    }
  };
  const auto model = tiny_model();
  convert_all(*model, 8);
  auto* site = model->sites()[0];
  const auto* good = moe::as_experts(*site);
  site->replace(std::make_shared<Wrong>(good->weights(), 8, 0, good->router()));
  CHECK(contains(message_of([&] { eval::check_conversion(*model, tiny_dataset(4), torch::kCPU); }),
                 "the same weights run densely"));
}
