#include "d2dmoe/eval/sweep.h"

#include "support/support.h"
#include "tiny.h"

using namespace d2dmoe;
using namespace d2dmoe::test;

TEST_CASE("sweep: a point has its quality, cost and time, against the dense baseline") {
  const auto dense = tiny_model(), routed = tiny_model();
  convert_all(*routed, 8);
  auto dataset = tiny_dataset(40);
  label_by(*dense, dataset);
  config::SweepOptions options;
  options.time_batches = {2};
  options.time_runs = 3;
  options.time_seconds = 60;
  options.bootstrap = 50;
  const eval::Sweep sweep({*routed, *dense, dataset, "accuracy", options, 1, torch::kCPU});
  CHECK(sweep.dense().at("score") == 1.0);
  CHECK(sweep.dense().at("flops_share") == 1.0);
  CHECK(contains(eval::point_line([&] {
                   auto d = sweep.dense();
                   d["label"] = "dense";
                   return d;
                 }()),
                 "accuracy 100.00 %"));

  const auto all = sweep.measure(eval::uniform_setting(*routed, {"all", 0, 0}), /*timed=*/false);
  CHECK(all.at("score") == 1.0);
  CHECK(all.at("within_noise") == true);
  CHECK(all.at("flops_share").get<double>() == Approx(1));
  CHECK(all.at("time").empty());

  auto point = sweep.measure(eval::uniform_setting(*routed, {"dynamic_k", 1.0, 0}));
  CHECK(point.at("executed_share").get<double>() < 0.2);
  CHECK(point.at("flops_share").get<double>() < 1);
  CHECK(point.at("score").get<double>() < 1);
  CHECK(point.at("difference").get<double>() == Approx(point.at("score").get<double>() - 1));
  CHECK(point.at("executed_share_per_site").size() == 3);
  CHECK(point.at("expert_use").at("layers.0.ffn").size() == 8);
  REQUIRE(point.at("time").size() == 1);
  CHECK(point.at("time")[0].at("batch") == 2);
  CHECK(point.at("time")[0].at("runs") == 3);
  point["rule"] = "dynamic_k";
  point["value"] = 1.0;
  point["floor"] = 0.5;
  CHECK(contains(eval::point_line(point), "tau 1"));
  CHECK(contains(eval::point_line(point), "floor 0.5"));
}
