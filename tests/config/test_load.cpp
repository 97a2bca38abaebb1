#include <fstream>
#include <nlohmann/json.hpp>

#include "d2dmoe/config/experiment.h"
#include "d2dmoe/core/error.h"
#include "support/support.h"

using namespace d2dmoe;
using namespace d2dmoe::config;
using d2dmoe::test::contains;
using d2dmoe::test::message_of;

namespace {

LoadedExperiment load_text(const std::string& text) {
  const test::TempDir dir;
  std::ofstream(dir / "c.json", std::ios::binary) << text;
  return load_experiment(dir / "c.json", {});
}

/// The message for a config, from the file's name on; the kind of the exception is checked.
std::string refused(const std::string& text) {
  INFO(text);
  CHECK_THROWS_AS(load_text(text), UsageError);
  const std::string message = message_of([&] { load_text(text); });
  const size_t name = message.find("c.json");
  return name == message.npos ? message : message.substr(name);
}

}  // namespace

TEST_CASE("config: no file gives the defaults, and they are in range") {
  const LoadedExperiment loaded = load_experiment("", {});
  CHECK(loaded.stages.empty());
  CHECK(to_json(loaded.options) == to_json(Experiment{}));
}

TEST_CASE("config: a resolved config reads back to itself") {
  Experiment experiment;
  experiment.run.output_dir = "runs/ä \"x\"";
  experiment.data.label_names = {"joy", "fear"};
  experiment.train.dropout = 0.25;
  experiment.train_sparse.penalty.schedule = "auto";
  experiment.train_sparse.penalty.target_sparsity = 0.95;
  experiment.convert.layers = {0, 5};
  experiment.convert.split.experts_per_site = {{"layers.0.ffn", 64}};
  experiment.sweep_tau.taus = {0.1, 1};
  const auto json = to_json(experiment);
  const LoadedExperiment loaded = load_text(json.dump(1));
  CHECK(to_json(loaded.options) == json);
  CHECK(loaded.options.train_sparse.penalty.target_sparsity == 0.95);
  CHECK_FALSE(loaded.options.train_sparse.penalty.max_metric_drop.has_value());
}

TEST_CASE("config: stages are those that the file holds") {
  const LoadedExperiment loaded = load_text(R"({"$schema": "x", "seed": 7, "convert": {}, "train": {}})");
  CHECK(loaded.stages == std::set<std::string>{"convert", "train"});
  CHECK(loaded.options.run.seed == 7);
}

TEST_CASE("config: whole numbers may be written as 1e3 or 3.0") {
  CHECK(load_text(R"({"data": {"limit": 1e3}, "train": {"batch_size": 3.0, "epochs": 2}})")
            .options.data.limit == 1000);
  CHECK(refused(R"({"data": {"limit": 1.5}})") == "c.json:1: 'data.limit' is 1.5, must be a whole number");
  CHECK(contains(refused(R"({"seed": 18446744073709551615})"), "must be a whole number"));
  CHECK(contains(refused(R"({"data": {"limit": 1e300}})"), "must be a whole number"));
}

TEST_CASE("config: unknown keys name the line and the nearest key") {
  CHECK(refused("{\n \"train\": {\n  \"optimizer\": {\n\n   \"lrr\": 1}}}") ==
        "c.json:5: 'train.optimizer.lrr' is not a key. Hint: did you mean 'lr'?");
  CHECK(refused(R"({"trian": {}})") == "c.json:1: 'trian' is not a key. Hint: did you mean 'train'?");
}

TEST_CASE("config: a key at the wrong place is told where it belongs") {
  CHECK(refused(R"({"train": {"lr": 1}})") ==
        "c.json:1: 'train.lr' is not a key. Hint: the key stands at 'train.optimizer.lr'");
  CHECK(refused(R"({"tau": {}, "x": 1})") != "");
  CHECK(contains(refused(R"({"alpha": 1})"), "Hint: the key stands at 'train_sparse.penalty.alpha'"));
  CHECK(contains(refused(R"({"bootstrapp": 1})"), "Hint: did you mean 'sweep_tau.bootstrap'?"));
  CHECK(contains(refused(R"({"model": {"quantisation": 1}})"), "Hint: the keys of 'model' are path"));
}

TEST_CASE("config: wrong types") {
  CHECK(refused("{\"train\":\n{\"keep_best\": 1}}") ==
        "c.json:2: 'train.keep_best' is 1, must be true or false");
  CHECK(refused(R"({"train": {"epochs": "3"}})") == "c.json:1: 'train.epochs' is \"3\", must be a number");
  CHECK(refused(R"({"train": {"epochs": null}})") == "c.json:1: 'train.epochs' is null, must be a number");
  CHECK(refused(R"({"train": []})") == "c.json:1: 'train' is [], must be an object of keys");
  CHECK(refused(R"({"model": {"path": 3}})") == "c.json:1: 'model.path' is 3, must be text in quotes");
  CHECK(contains(refused(R"({"sweep_tau": {"taus": 0.5}})"), "'sweep_tau.taus' is 0.5, must be a list"));
  CHECK(contains(refused(R"({"sweep_tau": {"taus": [0.5, "a"]}})"), "must be numbers (look at [1])"));
  CHECK(contains(refused(R"({"convert": {"split": {"experts_per_site": {"layers.0.ffn": "x"}}}})"),
                 "'convert.split.experts_per_site.layers.0.ffn' is \"x\", must be a whole number"));
  CHECK(contains(refused("[1]"), "the file holds [1], must hold an object of keys"));
}

TEST_CASE("config: values outside their range show the range") {
  CHECK(refused(R"({"train": {"epochs": 0}})") ==
        "c.json:1: 'train.epochs' is 0, must be above 0 and below 1000000");
  CHECK(
      contains(refused(R"({"train": {"dropout": -0.5}})"), "is -0.5, must be at least 0 and below 1, or -1"));
  CHECK(load_text(R"({"train": {"dropout": -1}})").options.train.dropout == -1);
  CHECK(contains(refused(R"({"threads": -1})"), "must be at least 0 and at most 4096"));
  CHECK(contains(refused(R"({"convert": {"layers": [0, -2]}})"), "entry [1] is -2, must be at least 0"));
  CHECK(contains(refused(R"({"train_sparse": {"distill": {"lambda": 1.5}}})"),
                 "must be at least 0 and at most 1"));
  CHECK(contains(refused(R"({"train": {"optimizer": {"betas": [0.9]}}})"), "has 1 entries, must have 2"));
  CHECK(contains(refused(R"({"train": {"optimizer": {"betas": [0.9, 1.0]}}})"),
                 "must be at least 0 and below 1"));
  CHECK(contains(refused(R"({"sweep_tau": {"budget": 0}})"), "must be above 0 and at most 1"));
}

TEST_CASE("config: ranges of the image options") {
  CHECK(contains(refused(R"({"data": {"images": {"flip": 1.5}}})"), "must be at least 0 and at most 1"));
  CHECK(contains(refused(R"({"data": {"images": {"crop_scale": [0, 1]}}})"), "must be at least 0.0001"));
  CHECK(contains(refused(R"({"data": {"images": {"crop_scale": [0.9, 0.1]}}})"),
                 "'data.images.crop_scale' is [0.9, 0.1], must be [smallest, largest]"));
  CHECK(contains(refused(R"({"data": {"images": {"max_broken": -1}}})"), "must be at least 0"));
  CHECK(load_text(R"({"data": {"images": {"crop_scale": [0.08, 1]}}})").options.data.images.crops());
  CHECK_FALSE(load_text("{}").options.data.images.crops());
}

TEST_CASE("config: words that are no choice show the choices") {
  CHECK(refused(R"({"train": {"optimizer": {"name": "adma"}}})") ==
        "c.json:1: 'train.optimizer.name' is \"adma\", must be one of adamw, adam, sgd. Hint: did you mean "
        "'adam'?");
  CHECK(contains(refused(R"({"convert": {"kinds": ["mha"]}})"), "must be one of ffn, q, k, v, o"));
}

TEST_CASE("config: text that is no JSON, or strange JSON") {
  CHECK(contains(refused("{\n \"seed\": 1,,}"), "c.json:2:"));
  CHECK(contains(refused("{\"seed\": NaN}"), "c.json:1:"));
  CHECK(contains(refused("{\"seed\": 1, \"seed\": 2}"), "seed"));
  CHECK(contains(refused(""), "empty"));
  CHECK(refused("{\"train\": {\"optimizer\": {\"lr\": 1e999}}}") != "");
  CHECK(refused("{\"model\": {\"path\": \"a\\u0000b\"}}") == "c.json:1: 'model.path' holds a zero character");
  CHECK(refused("{\"model\": {\"path\": \"\xff\"}}") != "");
  CHECK(refused(std::string(100000, '[')) != "");
  CHECK_THROWS_AS(load_experiment("/nowhere/c.json", {}), UsageError);
  CHECK_THROWS_AS(load_experiment("/", {}), UsageError);
}

TEST_CASE("config: contradictions between keys") {
  CHECK(contains(refused(R"({"train_sparse": {"penalty":
      {"schedule": "auto", "target_sparsity": 0.9,
       "max_metric_drop": 1}}})"),
                 "c.json:3: 'train_sparse.penalty.max_metric_drop' and target_sparsity are both set"));
  CHECK(contains(refused(R"({"train_sparse": {"penalty": {"schedule": "auto"}}})"), "needs target_sparsity"));
  CHECK(contains(refused(R"({"train_sparse": {"penalty": {"schedule": "auto", "target_sparsity": 0.9,
       "alpha": 0}}})"),
                 "'train_sparse.penalty.alpha' is 0, must be above 0 for schedule \"auto\""));
  CHECK(contains(refused(R"({"train_sparse": {"distill": {"features": 1}}})"),
                 "'train_sparse.distill.features' needs a teacher"));
  CHECK(contains(refused(R"({"train_sparse": {"penalty": {"target_sparsity": 0.9}}})"),
                 "needs schedule \"auto\""));
  CHECK(contains(refused(R"({"sweep_tau": {"taus": [0.5, 1.5]}})"),
                 "holds 1.5, must hold numbers from 0 to 1"));
  CHECK(contains(refused(R"({"sweep_tau": {"rule": "top_k", "taus": [0.5]}})"), "whole numbers of experts"));
  CHECK(load_text(R"({"sweep_tau": {"rule": "top_k", "taus": [4]}})").options.sweep_tau.taus[0] == 4);
  CHECK(contains(refused(R"({"train_routed": {"tau_range": [0.5, 0.1]}})"), "must be [smallest, largest]"));
  CHECK(contains(refused(R"({"train_routed": {"tau_range": [0.5]}})"), "must be [smallest, largest]"));
  CHECK(contains(refused(R"({"train_routed": {"tau_range": [0.1, 1.5]}})"),
                 "'train_routed.tau_range' holds 1.5"));
  CHECK(contains(refused(R"({"train_routed": {"rule": "top_k"}})"), "whole numbers of experts"));
  CHECK(contains(refused(R"({"train_routed": {"validation_tau": 2}})"),
                 "'train_routed.validation_tau' holds 2"));
  CHECK(contains(refused(R"({"train_routed": {"tau_range": [], "validation_tau": 0.3}})"),
                 "tau_range is empty"));
  CHECK(contains(refused(R"({"train_routed": {"rule": "all"}})"), "dynamic_k, cumulative, top_k"));
  CHECK_NOTHROW(load_text(R"({"train_routed": {"tau_range": []}})"));
  CHECK(contains(refused(R"({"sweep_tau": {"rule": "oracle_dynamic_k", "max_drop": 1}})"),
                 "set max_drop to null"));
  CHECK(contains(refused(R"({"train_routed": {"rule": "cumulative", "tau_range": [0, 0]}})"),
                 "'train_routed.tau_range' is 0"));
  CHECK(contains(
      refused(R"({"train_routed": {"rule": "cumulative", "tau_range": [0, 1], "validation_tau": 0}})"),
      "'train_routed.validation_tau' is 0"));
  CHECK_NOTHROW(load_text(R"({"train_routed": {"rule": "cumulative", "tau_range": [0, 1]}})"));
  CHECK(contains(refused(R"({"sweep_tau": {"budget": 0.5, "max_drop": 1}})"), "both set"));
  CHECK(contains(refused(R"({"device": "gpu"})"), "must be auto, cpu, cuda or cuda:N"));
  CHECK(contains(refused(R"({"data": {"separator": ";;"}})"), "one ASCII character"));
  CHECK(contains(refused(R"({"data": {"label_names": ["a", "b", "a"]}})"), "names \"a\" twice"));
  CHECK(contains(refused(R"({"convert": {"layers": [1, 1]}})"), "names layer 1 twice"));
  CHECK_NOTHROW(load_text(R"({"convert": {"kinds": []}})"));
  CHECK(contains(refused(R"({"convert": {"kinds": ["ffn", "q", "ffn"]}})"), "names \"ffn\" twice"));
  CHECK(contains(refused(R"({"train_sparse": {"attention": {"projections": ["o", "o"]}}})"),
                 "names \"o\" twice"));
  CHECK(contains(refused(R"({"data": {"task": "regression"}, "train": {"metric": "mcc"}})"),
                 "Hint: use pearson, loss"));
  CHECK_NOTHROW(load_text(R"({"data": {"task": "regression"}, "train": {}, "convert": {}})"));
  CHECK(contains(refused(R"({"train": {"patience": 2, "eval_every": 0}})"), "eval_every must be above 0"));
}

TEST_CASE("config: the configs of this project can be read") {
  int count = 0;
  for (const auto& entry : std::filesystem::directory_iterator("configs")) {
    INFO(entry.path().string());
    if (entry.path().extension() != ".json") continue;
    CHECK_FALSE(load_experiment(entry.path(), {}).stages.empty());
    ++count;
  }
  CHECK(count > 0);
}
