#include "d2dmoe/config/overrides.h"

#include <nlohmann/json.hpp>

#include "d2dmoe/config/experiment.h"
#include "d2dmoe/core/error.h"
#include "support/support.h"

using namespace d2dmoe;
using namespace d2dmoe::config;
using d2dmoe::test::contains;
using d2dmoe::test::message_of;

namespace {

Experiment with(const std::vector<std::string>& overrides) {
  return load_experiment("", overrides).options;
}

std::string refused_override(const std::string& text) {
  INFO(text);
  CHECK_THROWS_AS(with({text}), UsageError);
  return message_of([&] { with({text}); });
}

}  // namespace

TEST_CASE("overrides: every kind of value") {
  const Experiment e = with({"train.optimizer.lr=5e-5", "seed=7", "data.header=false", "model.path=a=b c",
                             "sweep_tau.taus=0.1,0.2", "sweep_tau.time_batches=[1]", "data.label_names=a,b",
                             "sweep_tau.budget=0.5", "train_sparse.train.optimizer.betas=[0.8, 0.9]"});
  CHECK(e.train.optimizer.lr == 5e-5);
  CHECK(e.run.seed == 7);
  CHECK_FALSE(e.data.header);
  CHECK(e.model.path == "a=b c");
  CHECK(e.sweep_tau.taus == std::vector<double>{0.1, 0.2});
  CHECK(e.sweep_tau.time_batches == std::vector<int64_t>{1});
  CHECK(e.data.label_names == std::vector<std::string>{"a", "b"});
  CHECK(e.sweep_tau.budget == 0.5);
  CHECK(e.train_sparse.train.optimizer.betas == std::vector<double>{0.8, 0.9});
}

TEST_CASE("overrides: text stays text, null clears, lists can be empty, the last one counts") {
  const Experiment e = with({"data.text=0", "data.label=\"1\"", "output_dir=2024", "sweep_tau.budget=0.5",
                             "sweep_tau.budget=null", "data.separator=\t",
                             "data.validation=", "sweep_tau.time_batches=", "seed=1", "seed=2"});
  CHECK(e.data.text == "0");
  CHECK(e.data.label == "1");
  CHECK(e.run.output_dir == "2024");
  CHECK_FALSE(e.sweep_tau.budget.has_value());
  CHECK(e.data.separator == "\t");
  CHECK(e.data.validation.empty());
  CHECK(e.sweep_tau.time_batches.empty());
  CHECK(e.run.seed == 2);
}

TEST_CASE("overrides: whole objects, and site names with dots") {
  const Experiment e =
      with({R"(convert.router={"width": 64, "depth": 1})", "convert.split.experts_per_site.layers.0.ffn=32"});
  CHECK(e.convert.router.width == 64);
  CHECK(e.convert.router.depth == 1);
  CHECK(e.convert.split.experts_per_site.at("layers.0.ffn") == 32);
}

TEST_CASE("overrides: errors name the option") {
  CHECK(refused_override("train.optimizer.lrr=1") ==
        "[config] --set train.optimizer.lrr=1: 'train.optimizer.lrr' is not a key. Hint: did you mean 'lr'?");
  CHECK(contains(refused_override("seed"), "--set 'seed': must be path=value"));
  CHECK(contains(refused_override("=1"), "must be path=value"));
  CHECK(contains(refused_override("threads=-1"), "--set threads=-1: 'threads' is -1, must be at least 0"));
  CHECK(contains(refused_override("train.epochs=nan"), "'train.epochs' is \"nan\", must be a number"));
  CHECK(contains(refused_override("train.epochs="), "must be a number"));
  CHECK(contains(refused_override("seed.x=1"), "'seed' is {\"x\":1}, must be a whole number"));
  CHECK(contains(refused_override("train.=1"), "is not a key"));
  CHECK(contains(refused_override("data.text=\xff"), "is not UTF-8"));
  CHECK(contains(refused_override("convert.router={\"width\":1,\"width\":2}"), "width"));
  CHECK(contains(refused_override("device=gpu"), "--set device=gpu: 'device' is \"gpu\""));
}
