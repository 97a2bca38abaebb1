#include <fstream>
#include <functional>

#include "child.h"
#include "d2dmoe/core/error.h"
#include "d2dmoe/core/signals.h"
#include "d2dmoe/io/atomic_file.h"
#include "d2dmoe/moe/converted_folder.h"
#include "d2dmoe/moe/expert_feed_forward.h"
#include "d2dmoe/stages/stages.h"
#include "support/support.h"
#include "support/tiny.h"

using namespace d2dmoe;
using namespace d2dmoe::test;
namespace fs = std::filesystem;
using Json = nlohmann::ordered_json;

namespace {

/// The tiny experiment without training: conversion starts from the random model.
fs::path write_conversion(const fs::path& dir) {
  const fs::path file = write_tiny_experiment(dir);
  Json json = Json::parse(io::read_file(file));
  json.erase("train");
  json.erase("train_sparse");
  json["data"]["limit"] = 120;
  json["convert"]["checkpoint_every"] = 1;
  json["convert"]["router"]["validation_share"] = 0.1;
  std::ofstream(file) << json.dump();
  return file;
}

const std::vector<std::string> kResultFiles = {"model/model.safetensors", "model/routers.safetensors",
                                               "model/d2dmoe.json", "metrics.jsonl", "splits.safetensors"};

std::vector<std::string> results_in(const fs::path& run) {
  std::vector<std::string> contents;
  for (const auto& name : kResultFiles) contents.push_back(io::read_file(run / name));
  Json report = Json::parse(io::read_file(run / "convert.json"));
  report.erase("seconds");
  contents.push_back(report.dump());
  return contents;
}

}  // namespace

TEST_CASE("child: convert of a config", "[.child-convert]") {
  stages::convert(config::load_experiment(child_config(), {}));
}

TEST_CASE("convert: a dense folder becomes a folder of experts with a quality report") {
  const TempDir dir;
  const auto experiment = config::load_experiment(write_conversion(dir.path()), {});
  const Json result = stages::convert(experiment);
  const fs::path run = dir / "run" / "convert";
  CHECK(result.at("sites") == 2);
  CHECK(stages::convert(experiment) == result);  // done: nothing happens

  const Json report = Json::parse(io::read_file(run / "convert.json"));
  REQUIRE(report.at("sites").size() == 2);
  const Json& site = report["sites"][0];
  CHECK(site.at("site") == "layers.0.ffn");
  CHECK(site.at("experts") == 8);
  CHECK(site.at("expert_size") == 8);
  CHECK(site.at("split") == "mixed");
  CHECK(site.at("expert_use").size() == 8);
  CHECK(site.at("mean_norm").get<double>() > 0);
  CHECK(site.at("router").at("mse").get<double>() > 0);
  CHECK(site.at("router").at("captured_norm_mass").size() == 5);
  CHECK(report.at("regret").size() == 3);
  CHECK(report.at("metric") == "accuracy");
  CHECK(report.at("seconds").contains("total"));

  const auto model = moe::load_any(io::HfFolder(run / "model"));
  for (auto* s : model->sites()) {
    REQUIRE(moe::as_experts(*s) != nullptr);
    CHECK(moe::as_experts(*s)->mean_norm() > 0);
    CHECK(moe::as_experts(*s)->selection().rule == "dynamic_k");
  }
  CHECK(fs::exists(run / "model/vocab.txt"));
  CHECK_FALSE(fs::exists(run / "checkpoints"));
  moe::export_dense(run / "model", dir / "back", true);
  CHECK(io::read_file(dir / "back/model.safetensors") == io::read_file(dir / "model/model.safetensors"));
}

TEST_CASE("convert: every split, some layers, sites of their own size") {
  const TempDir dir;
  const fs::path file = write_conversion(dir.path());
  for (const char* split : {"weights", "coactivation", "random", "importance", "shared_routed"}) {
    CAPTURE(split);
    const auto experiment = config::load_experiment(
        file,
        {std::string("output_dir=") + (dir / split).string(), std::string("convert.split.name=") + split,
         "convert.layers=[1]", "convert.split.experts_per_site={\"layers.1.ffn\": 16}",
         "convert.router.epochs=0.5", "convert.router.depth=1", "data.limit=60"});
    stages::convert(experiment);
    const auto model = moe::load_any(io::HfFolder(dir / split / "convert/model"));
    CHECK(moe::as_experts(*model->sites()[0]) == nullptr);
    const auto* layer = moe::as_experts(*model->sites()[1]);
    REQUIRE(layer != nullptr);
    CHECK(layer->experts() == 16);
    CHECK(layer->shared() == (std::string(split) == "shared_routed" ? 1 : 0));
    CHECK(layer->origin().split == split);
  }
}

TEST_CASE("convert: what cannot be done is said before any work") {
  const TempDir dir;
  const fs::path file = write_conversion(dir.path());
  const auto refused = [&](const std::vector<std::string>& changes) {
    auto all = changes;
    all.push_back("output_dir=" + (dir / "refused").string());
    const auto message = message_of([&] { stages::convert(config::load_experiment(file, all)); });
    fs::remove_all(dir / "refused");
    return message;
  };
  CHECK(contains(refused({"convert.split.experts=7"}), "7"));
  CHECK(contains(refused({"convert.split.experts=7"}), "8"));  // the divisor near it
  CHECK(contains(refused({"convert.layers=[5]"}), "no layer 5"));
  CHECK(contains(refused({"convert.kinds=[\"q\"]"}), "convert.kinds"));
  CHECK(contains(refused({"convert.split.experts_per_site={\"layers.1.fnn\": 8}"}), "layers.1.ffn"));

  stages::convert(config::load_experiment(file, {"convert.router.epochs=0.5"}));
  CHECK(contains(refused({"convert.start=" + (dir / "run/convert/model").string()}),
                 "mixture of experts already"));
}

TEST_CASE("convert: a stop saves, the next run goes on to the same bytes") {
  const TempDir dir;
  const fs::path file = write_conversion(dir.path());
  const auto experiment = config::load_experiment(file, {});
  stages::convert(experiment);
  const auto want = results_in(dir / "run/convert");
  fs::remove_all(dir / "run");
  request_stop();
  CHECK_THROWS_AS(stages::convert(experiment), Interrupted);
  request_stop(false);
  CHECK_FALSE(fs::exists(dir / "run/convert/model"));
  stages::convert(experiment);
  CHECK(results_in(dir / "run/convert") == want);
}

TEST_CASE("convert: a run that is killed at many moments ends at the bytes of the one that was not") {
  const TempDir dir;
  const fs::path file = write_conversion(dir.path());
  const std::string tag = "[.child-convert]";
  REQUIRE(Child(tag, file).wait() == 0);
  const fs::path run = dir / "run" / "convert";
  const auto want = results_in(run);
  fs::remove_all(run);

  const auto there = [&](const std::string& name) { return [&run, name] { return fs::exists(run / name); }; };
  const auto checkpoint = [&](int step) {
    return there(format("checkpoints/step-{:06d}.safetensors", step));
  };
  const std::vector<std::function<bool()>> moments = {
      there(".lock"), there("splits.safetensors"), there("metrics.jsonl"), checkpoint(2), checkpoint(7),
      there("model"),
  };
  int killed = 0;
  for (const auto& moment : moments) killed += Child(tag, file).kill_when(moment);
  CHECK(killed >= 4);
  REQUIRE(Child(tag, file).wait() == 0);
  CHECK(results_in(run) == want);
}
