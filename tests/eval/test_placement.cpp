#include "d2dmoe/eval/placement.h"

#include <algorithm>

#include "d2dmoe/core/error.h"
#include "d2dmoe/eval/cost_ledger.h"
#include "support/support.h"
#include "tiny.h"

using namespace d2dmoe;
using namespace d2dmoe::test;

namespace {

double measured_share(models::Model& model, const data::Dataset& dataset, const moe::Selection& selection) {
  eval::CostLedger ledger(model);
  eval::EvaluateOptions options;
  options.selection = &selection;
  options.observers = {&ledger};
  options.on_batch = [&](const data::Batch& batch) { ledger.on_batch(batch); };
  eval::evaluate(model, dataset, options);
  return ledger.result().executed_share;
}

}  // namespace

TEST_CASE("placement: points lie evenly in cost, not in the value") {
  const auto rule = GENERATE(as<std::string>{}, "dynamic_k", "cumulative", "oracle_dynamic_k");
  INFO(rule);
  const auto model = tiny_model();
  convert_all(*model, 24);
  const auto dataset = tiny_dataset(60);
  const bool oracle = rule.rfind("oracle", 0) == 0;
  const eval::ScoreSample sample(*model, dataset, oracle, 1 << 20, 1, torch::kCPU);
  const auto values = eval::place_points(sample, rule, 0, 7);
  REQUIRE(values.size() == 7);
  std::vector<double> shares;
  for (const double value : values) shares.push_back(sample.executed_share(moe::Selection{rule, value, 0}));
  const double step = (shares.front() - shares.back()) / 6;
  CHECK(shares.back() <= 0.08);
  for (size_t i = 1; i < shares.size(); ++i) CHECK(shares[i - 1] - shares[i] == Approx(step).margin(0.03));
  // What the sample says is what the model does, up to the drift of routed inputs.
  const moe::Selection middle{rule, values[3], 0};
  CHECK(measured_share(*model, dataset, middle) == Approx(shares[3]).margin(0.1));
}

TEST_CASE("placement: top_k gets whole numbers, each once") {
  const auto model = tiny_model();
  convert_all(*model, 8, 2);
  const eval::ScoreSample sample(*model, tiny_dataset(20), false, 500, 1, torch::kCPU);
  CHECK(sample.least_routed_experts() == 6);
  CHECK(eval::place_points(sample, "top_k", 0, 20) == std::vector<double>{6, 5, 4, 3, 2, 1});
  CHECK(sample.executed_share(moe::Selection{"top_k", 1, 0}) ==
        Approx(3.0 / 8).margin(0.01));  // two shared ones always run
  CHECK(eval::place_points(sample, "top_k", 0, 1).size() == 1);
}

TEST_CASE("placement: a rule without a value and a dense model are refused") {
  CHECK(contains(message_of([] { eval::value_range("all", 8); }), "no value"));
  const auto model = tiny_model();
  CHECK(contains(message_of([&] { eval::ScoreSample(*model, tiny_dataset(3), false, 10, 1, torch::kCPU); }),
                 "no converted site"));
}
