#include <fstream>
#include <sstream>

#include "d2dmoe/core/error.h"
#include "d2dmoe/core/signals.h"
#include "d2dmoe/io/atomic_file.h"
#include "d2dmoe/io/json_file.h"
#include "d2dmoe/models/model.h"
#include "d2dmoe/stages/stages.h"
#include "support/support.h"
#include "support/tiny.h"

using namespace d2dmoe;
using namespace d2dmoe::test;
namespace fs = std::filesystem;
using Json = nlohmann::ordered_json;

namespace {

/// A converted tiny model of random weights, and the experiment that sweeps it.
class Converted {
 public:
  Converted() {
    const auto file = write_tiny_experiment(dir_.path());
    auto config = io::read_json_file(file);
    config.erase("train");
    config.erase("train_sparse");
    io::write_file(file, config.dump());
    // The model as training would leave it: with the data's label names.
    auto model = io::read_json_file(dir_.path() / "model" / "config.json");
    const std::vector<std::string> names = {"anger", "fear", "joy", "love", "sadness", "surprise"};
    for (size_t i = 0; i < names.size(); ++i) {
      model["id2label"][std::to_string(i)] = names[i];
      model["label2id"][names[i]] = i;
    }
    io::write_file(dir_.path() / "model" / "config.json", model.dump());
    stages::convert(experiment());
  }
  config::LoadedExperiment experiment(std::vector<std::string> overrides = {}) const {
    return config::load_experiment(dir_ / "config.json", overrides);
  }
  fs::path sweep_dir() const { return dir_ / "run" / "sweep_tau"; }
  fs::path model_dir() const { return dir_.path() / "run" / "convert" / "model"; }

 private:
  TempDir dir_;
};

std::vector<Json> lines_of(const fs::path& file) {
  std::vector<Json> lines;
  std::istringstream text(io::read_file(file));
  for (std::string line; std::getline(text, line);) lines.push_back(Json::parse(line));
  return lines;
}

}  // namespace

TEST_CASE("sweep-tau: dense baseline, all experts, points, curve; finished points are not repeated") {
  const Converted converted;
  const auto result = stages::sweep_tau(converted.experiment());
  CHECK(result.at("metric") == "accuracy");
  CHECK(result.at("dense").at("flops_share") == 1.0);
  CHECK(result.at("dense").at("time").size() == 2);
  CHECK(result.at("all_experts").at("score") == result.at("dense").at("score"));
  CHECK(result.at("all_experts").at("flops_share").get<double>() == Approx(1));
  CHECK(result.at("calibrated").is_null());
  REQUIRE(result.at("points").size() == 3);
  double last = 2;
  for (const auto& point : result.at("points")) {
    CHECK(point.at("executed_share").get<double>() < last);
    CHECK(point.at("time").size() == 2);
    last = point.at("executed_share").get<double>();
  }
  for (const char* file :
       {"points.jsonl", "curve.csv", "curve.svg", "curve.png", "table.md", "points_plan.json"}) {
    INFO(file);
    CHECK(fs::exists(converted.sweep_dir() / file));
  }
  CHECK(contains(io::read_file(converted.sweep_dir() / "table.md"), "1 multiply-accumulate = 2 FLOPs"));
  CHECK(stages::sweep_tau(converted.experiment()) == result);  // finished: read, not run

  // What a sweep that was killed after its first point leaves behind, with a mark in that point.
  auto lines = lines_of(converted.sweep_dir() / "points.jsonl");
  REQUIRE(lines.size() == 3);
  lines[0]["score"] = 0.123;
  io::write_file(converted.sweep_dir() / "points.jsonl", lines[0].dump() + "\n");
  fs::remove(converted.sweep_dir() / "result.json");
  const auto resumed = stages::sweep_tau(converted.experiment());
  REQUIRE(resumed.at("points").size() == 3);
  CHECK(resumed.at("points")[0].at("score") == 0.123);
  for (size_t i = 1; i < 3; ++i) {
    CHECK(resumed.at("points")[i].at("value") == result.at("points")[i].at("value"));
    CHECK(resumed.at("points")[i].at("score") == result.at("points")[i].at("score"));
  }
  CHECK(lines_of(converted.sweep_dir() / "points.jsonl").size() == 3);
}

TEST_CASE("sweep-tau: a finished sweep knows its baseline, and does not need it any more") {
  const Converted converted;
  const fs::path dense = converted.model_dir().parent_path() / "dense";
  fs::copy(converted.model_dir(), dense);
  const auto experiment =
      converted.experiment({"sweep_tau.dense=" + dense.string(), "sweep_tau.time_batches=[]"});
  const auto result = stages::sweep_tau(experiment);
  CHECK(stages::sweep_tau(experiment) == result);

  change_last_byte(dense / "model.safetensors");
  CHECK(contains(message_of([&] { stages::sweep_tau(experiment); }), "dense_weights_sha256"));
  fs::remove_all(dense);
  CHECK(stages::sweep_tau(experiment) == result);
}

TEST_CASE("sweep-tau: a calibrated setting is measured on test and saved into the converted folder") {
  const Converted converted;
  {
    const io::FolderLock other(converted.model_dir().parent_path());
    const auto message = message_of([&] {
      stages::sweep_tau(converted.experiment({"sweep_tau.budget=0.95", "sweep_tau.taus=[0.5]"}));
    });
    CHECK(contains(message, "in use by process"));
  }
  const auto result =
      stages::sweep_tau(converted.experiment({"sweep_tau.budget=0.95", "sweep_tau.taus=[0.5]",
                                              "sweep_tau.floors=[0,0.5]", "sweep_tau.time_batches=[]"}));
  const auto& calibrated = result.at("calibrated");
  CHECK(calibrated.at("budget") == 0.95);
  CHECK(calibrated.at("validation").at("flops_share").get<double>() <= 0.95);
  CHECK(calibrated.at("flops_share").get<double>() == Approx(0.95).margin(0.03));
  CHECK(calibrated.at("per_site_values").size() == 2);
  CHECK(result.at("points").size() == 1);
  const auto saved = io::read_json_file(converted.model_dir() / "d2dmoe.json").dump();
  CHECK(contains(saved, "dynamic_k"));
  for (const char* file : {"table.md", "curve.csv", "curve.svg"}) {
    INFO(file);
    CHECK(contains(io::read_file(converted.sweep_dir() / file), "calibrated"));
  }
}

TEST_CASE("sweep-tau: a stop is obeyed between points and loses none") {
  const Converted converted;
  request_stop();
  const auto message = message_of([&] {
    stages::sweep_tau(converted.experiment({"sweep_tau.taus=[0.5]", "sweep_tau.time_batches=[]"}));
  });
  request_stop(false);
  CHECK(contains(message, "the same command goes on"));
  CHECK_FALSE(fs::exists(converted.sweep_dir() / "result.json"));
}

TEST_CASE("sweep-tau: wrong input is one clear sentence") {
  const Converted converted;
  CHECK(
      contains(message_of([&] { stages::sweep_tau(converted.experiment({"data.test="})); }), "'data.test'"));
  const auto start =
      format("sweep_tau.start={}", (converted.model_dir() / ".." / ".." / ".." / "model").string());
  CHECK(contains(message_of([&] { stages::sweep_tau(converted.experiment({start})); }), "no d2dmoe.json"));
  const auto k = message_of([&] {
    stages::sweep_tau(converted.experiment({"sweep_tau.rule=top_k", "sweep_tau.taus=[99]"}));
  });
  CHECK(contains(k, "sweep_tau.taus"));
}

TEST_CASE(
    "sweep-tau: a bound that the model misses with every expert leaves the curve, and nothing calibrated") {
  const Converted converted;
  // A dense model that always says "joy", the commonest label, is better than one of random weights.
  const fs::path base = converted.model_dir() / "../../../model",
                 better = converted.sweep_dir() / "../better";
  const auto dense = models::load_model(io::HfFolder(base));
  {
    const torch::NoGradGuard no_grad;
    for (auto& parameter : dense->named_parameters()) {
      if (parameter.value().size(0) != 6) continue;  // of the head
      parameter.value().zero_();
      if (parameter.value().dim() == 1) parameter.value()[2] = 1;
    }
  }
  fs::create_directories(better);
  models::save_model(*dense, better);
  const auto record = io::read_file(converted.model_dir() / "d2dmoe.json");
  const auto result = stages::sweep_tau(converted.experiment(
      {"sweep_tau.dense=" + better.string(), "sweep_tau.max_drop=0", "sweep_tau.max_drop_confidence=0.5"}));
  CHECK(result.at("calibrated").is_null());
  CHECK(contains(result.at("not_calibrated").get<std::string>(), "below the dense baseline"));
  CHECK(contains(io::read_file(converted.sweep_dir() / "table.md"), "Not calibrated:"));
  CHECK(io::read_file(converted.model_dir() / "d2dmoe.json") == record);
  CHECK(fs::exists(converted.sweep_dir() / "curve.svg"));
  CHECK_FALSE(result.at("points").empty());
}
