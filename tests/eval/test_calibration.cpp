#include "d2dmoe/eval/calibration.h"

#include <set>

#include "d2dmoe/core/error.h"
#include "d2dmoe/data/block_source.h"
#include "d2dmoe/eval/cost_ledger.h"
#include "d2dmoe/eval/metrics.h"
#include "support/support.h"
#include "tiny.h"

using namespace d2dmoe;
using namespace d2dmoe::test;

namespace {

struct Case {
  std::shared_ptr<models::Model> model = tiny_model();
  data::Dataset validation = tiny_dataset(60);
  eval::CalibrationOptions options;
  Case() {
    label_by(*model, validation);
    convert_all(*model, 12);
    options.dense_score = 1;
    options.sample_sentences = 40;
    options.steps = 4;
  }
};

double measured_flops(models::Model& model, const data::Dataset& dataset, const eval::Setting& setting) {
  const eval::ScopedSetting scope(model, setting);
  eval::CostLedger ledger(model);
  eval::EvaluateOptions options;
  options.observers = {&ledger};
  options.on_batch = [&](const data::Batch& batch) { ledger.on_batch(batch); };
  eval::evaluate(model, dataset, options);
  return ledger.result().flops_share;
}

}  // namespace

TEST_CASE("calibration: the sample is drawn once, of so many windows of text as are needed") {
  auto stream = std::make_shared<data::TokenStream>();
  stream->append(torch::arange(1, 1602, torch::kInt32), torch::tensor({{1601, 9000}}, torch::kInt64));
  const data::Dataset windows(std::make_shared<data::BlockSource>(stream, 0, 1601, 16, 16),
                              data::Task::language_modeling);
  REQUIRE(windows.size() == 100);
  eval::CalibrationOptions options;
  options.sample_sentences = 40;
  CHECK(eval::calibration_sample(windows, options).size() == 40);
  options.sample_tokens = 70;
  const auto sample = eval::calibration_sample(windows, options);
  CHECK(sample.tokens() == 80);
  const auto rows = sample.rows();
  CHECK(std::set<int64_t>(rows.begin(), rows.end()).size() == 5);
  CHECK(eval::calibration_sample(windows, options).rows() == rows);
  options.seed = 1;
  CHECK(eval::calibration_sample(windows, options).rows() != rows);
  // Sentences are counted, however long they are.
  CHECK(eval::calibration_sample(tiny_dataset(60), options).size() == 40);
}

TEST_CASE("calibration: a budget holds and is used up") {
  Case c;
  c.options.floors = GENERATE(std::vector<double>{0}, std::vector<double>{0, 0.5, 1});
  c.options.budget = 0.9;
  const auto before = eval::current_setting(*c.model);
  const auto result = eval::calibrate(*c.model, c.validation, c.options);
  CHECK((eval::current_setting(*c.model) == before));
  const double flops = measured_flops(*c.model, c.validation, result.setting);
  CHECK(flops == Approx(result.flops_share));
  CHECK(flops <= 0.9);
  CHECK(flops >= 0.87);
  CHECK(result.setting.size() == 3);
  CHECK(result.evaluations >= 1);
}

TEST_CASE("calibration: a bound on the drop holds, a looser bound costs no more") {
  Case c;
  double last = 2;
  for (const double bound : {1.0, 10.0, 60.0}) {
    c.options.max_drop = bound;
    const auto result = eval::calibrate(*c.model, c.validation, c.options);
    CHECK(result.drop <= bound);
    CHECK(result.drop == Approx(100 * (1 - result.score)));
    CHECK(result.flops_share <= last + 1e-9);
    last = result.flops_share;
  }
}

TEST_CASE("calibration: what the all-experts model is better than the dense one by is not spent") {
  Case c;
  c.options.dense_score = 0.5;
  c.options.max_drop = 20;
  const auto result = eval::calibrate(*c.model, c.validation, c.options);
  CHECK(result.score >= 0.8);  // all experts: 1
  CHECK(result.flops_share < 1);
}

TEST_CASE("calibration: with more confidence a bound costs more, and holds with its margin") {
  Case c;
  c.options.max_drop = 60;
  const auto as_measured = eval::calibrate(*c.model, c.validation, c.options);
  c.options.confidence = 0.95;
  const auto sure = eval::calibrate(*c.model, c.validation, c.options);
  CHECK(as_measured.drop <= 60);
  CHECK(sure.margin_to_all > 0);
  CHECK(sure.drop + sure.margin_to_all <= 60);
  CHECK(sure.flops_share > as_measured.flops_share);
  // A dense model whose predictions are those with all experts, but for a tenth of the examples.
  auto dense = eval::evaluate(*c.model, c.validation, {});
  dense.logits = dense.logits.clone();
  dense.logits.narrow(0, 0, dense.size() / 10).neg_();
  c.options.dense_score = eval::metric("accuracy", dense);
  c.options.dense = &dense;
  const auto against_dense = eval::calibrate(*c.model, c.validation, c.options);
  CHECK(against_dense.margin > 0);
  CHECK(against_dense.drop + against_dense.margin <= 60);
}

TEST_CASE("calibration: whole numbers stay whole under top_k") {
  Case c;
  c.options.rule = "top_k";
  c.options.budget = 0.85;
  const auto result = eval::calibrate(*c.model, c.validation, c.options);
  CHECK(result.flops_share <= 0.85);
  for (const auto& [site, selection] : result.setting) {
    if (selection.rule == "all") continue;
    CHECK(selection.value == std::floor(selection.value));
    CHECK(selection.value >= 1);
  }
}

TEST_CASE("calibration: per-site values do at least as well as one value at the same cost") {
  Case c;
  c.options.budget = 0.9;
  const auto result = eval::calibrate(*c.model, c.validation, c.options);
  // The one value that costs as much, by bisection.
  double low = 0, high = 1;
  for (int i = 0; i < 20; ++i) {
    const double tau = (low + high) / 2;
    const auto setting = eval::uniform_setting(*c.model, {"dynamic_k", tau, 0});
    (measured_flops(*c.model, c.validation, setting) > result.flops_share ? low : high) = tau;
  }
  const eval::ScopedSetting scope(*c.model, eval::uniform_setting(*c.model, {"dynamic_k", high, 0}));
  const double uniform = eval::metric("accuracy", eval::evaluate(*c.model, c.validation, {}));
  CHECK(result.score >= uniform - 0.05);
}

TEST_CASE("calibration: what cannot be reached is said, with what can") {
  Case c;
  CHECK(contains(message_of([&] { eval::calibrate(*c.model, c.validation, c.options); }), "needs a budget"));
  c.options.budget = 0.01;
  CHECK(
      contains(message_of([&] { eval::calibrate(*c.model, c.validation, c.options); }), "cheapest setting"));
  c.options.budget.reset();
  c.options.max_drop = 1;
  c.options.dense_score = 1.5;
  CHECK(contains(message_of([&] { eval::calibrate(*c.model, c.validation, c.options); }),
                 "with all experts on"));
  c.options.budget = 0.9;
  CHECK(contains(message_of([&] { eval::calibrate(*c.model, c.validation, c.options); }), "one of them"));
  c.options.budget.reset();
  CHECK(contains(message_of([&] { eval::calibrate(*c.model, {}, c.options); }), "no examples"));
}

TEST_CASE("calibration: a budget of the whole model asks no router") {
  Case c;
  c.options.budget = 1;
  const auto result = eval::calibrate(*c.model, c.validation, c.options);
  CHECK(result.flops_share == Approx(1));
  CHECK(result.score == 1);
  for (const auto& [site, selection] : result.setting) CHECK(selection.rule == "all");
}
