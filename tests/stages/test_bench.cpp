#include "d2dmoe/stages/bench.h"

#include <fstream>

#include "d2dmoe/core/error.h"
#include "d2dmoe/io/atomic_file.h"
#include "d2dmoe/stages/stages.h"
#include "support/support.h"
#include "support/tiny.h"

using namespace d2dmoe;
using namespace d2dmoe::test;
using Json = nlohmann::ordered_json;

namespace {

/// The tiny experiment with its random model converted.
config::LoadedExperiment converted(const TempDir& dir) {
  const auto file = write_tiny_experiment(dir.path());
  Json json = Json::parse(io::read_file(file));
  json.erase("train");
  json.erase("train_sparse");
  json["data"]["limit"] = 60;
  std::ofstream(file) << json.dump();
  auto experiment = config::load_experiment(file, {});
  stages::convert(experiment);
  return experiment;
}

stages::BenchRequest short_request(const TempDir& dir) {
  stages::BenchRequest request;
  request.model = (dir / "run/convert/model").string();
  request.rows = {1, 40, 100'000};
  request.batches = {1, 4};
  request.budget = {3, 0};
  return request;
}

}  // namespace

TEST_CASE("bench: a folder's layers on rows of its data, and the whole model") {
  const TempDir dir;
  const auto experiment = converted(dir);
  auto request = short_request(dir);
  request.values = {0, 1};
  std::vector<std::string> seen;
  stages::BenchSeen watch;
  watch.layer_point = [&](const Json& layer, const Json& point) {
    seen.push_back(layer.at("name").get<std::string>() + " " + point.at("rows").dump());
  };
  watch.model_point = [&](const Json& model, const Json&) { seen.push_back(model.at("data")); };
  const Json result = stages::bench(experiment, request, watch);

  const Json& model = result.at("model");
  CHECK(contains(model.at("data").get<std::string>(), "test.txt (test)"));
  REQUIRE(model.at("points").size() == 2);
  for (const Json& point : model.at("points")) {
    CHECK(point.at("selection").at("rule") == "dynamic_k");
    REQUIRE(point.at("time").size() == 2);
    CHECK(point.at("time")[1].at("batch") == 4);
    CHECK(point.at("time")[0].at("ratio").get<double>() > 0);
  }
  // tau 1 runs one expert per row, tau 0 every one with a score.
  const double most = model.at("points")[0].at("executed_share"),
               least = model.at("points")[1].at("executed_share");
  CHECK(most > 0.9);
  CHECK(least < most);
  CHECK(model.at("points")[1].at("flops_share") < model.at("points")[0].at("flops_share"));

  REQUIRE(result.at("layers").size() == 2);
  const Json& layer = result.at("layers")[1];
  CHECK(layer.at("name") == "layers.1.ffn");
  CHECK(layer.at("mask") == "router");
  REQUIRE(layer.at("points").size() == 4);  // the data do not have 100 000 rows
  CHECK(layer.at("points")[3].at("rows") == 40);
  CHECK(layer.at("points")[3].at("selection").at("value") == 1);
  const double experts = layer.at("experts");
  CHECK(layer.at("points")[3].at("share").get<double>() == Approx(1 / experts));
  const std::vector<std::string> round = {"layers.0.ffn 1", "layers.0.ffn 40", "layers.1.ffn 1",
                                          "layers.1.ffn 40", model.at("data").get<std::string>()};
  auto twice = round;
  twice.insert(twice.end(), round.begin(), round.end());
  CHECK(seen == twice);
}

TEST_CASE("bench: shares choose tau, single sites, random tokens where no data are named") {
  const TempDir dir;
  converted(dir);
  auto request = short_request(dir);
  request.rows = {8};
  request.batches = {2};
  request.model_shares = {0.3};
  request.sites = {"layers.1.ffn"};
  const auto without_data = config::load_experiment("", {"device=cpu"});
  const Json result = stages::bench(without_data, request);
  CHECK(result.at("model").at("data") == "random tokens");
  CHECK(result.at("layers").size() == 1);
  const Json& point = result.at("model").at("points").at(0);
  CHECK(point.at("executed_share").get<double>() == Approx(0.3).margin(0.06));
  CHECK(point.at("selection").at("value").get<double>() > 0);

  request.model_shares.clear();
  const Json own = stages::bench(without_data, request);
  CHECK(own.at("model").at("points").at(0).at("selection").is_null());  // the folder's, site by site

  request.sites = {"layers.9.ffn"};
  CHECK(contains(
      message_of([&] { stages::bench(without_data, request); }),
      "'--site layers.9.ffn': the model has no such converted site. Hint: there are layers.0.ffn, "));
  request.model = (dir / "model").string();
  CHECK(contains(message_of([&] { stages::bench(without_data, request); }),
                 "must be a converted model folder"));
}

TEST_CASE("bench: the plan counts points and names what would be written") {
  stages::BenchRequest request;
  request.shapes = {bench::preset("24x128"), bench::preset("minilm")};
  request.masks = {"independent", "hot"};
  request.rows = {1, 2, 3};
  request.shares = {0.5};
  const Json plan = stages::plan_bench(config::load_experiment("", {"device=cpu"}), request, "somewhere");
  CHECK(plan.at("points") == 12);
  CHECK(plan.at("writes")[0] == "somewhere/bench.json");
  CHECK(plan.at("reads").empty());
  request.shares = {};
  CHECK_THROWS_AS(stages::check_request(request), UsageError);
}
