#include "d2dmoe/eval/conversion_check.h"

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
  const auto error = eval::conversion_error(*model, dataset, 8, torch::kCPU);
  CHECK(error.selection_all <= 1e-5 * std::max(1.0, error.scale));
  CHECK(error.experts <= 1e-5 * std::max(1.0, error.scale));
  CHECK(error.scale > 0);
  CHECK(model->sites()[1]->layer() == layer);  // the converted layers are back in place
  eval::check_conversion(*model, dataset, torch::kCPU);
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
