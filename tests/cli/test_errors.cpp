// Wrong usage and bad input, as a user meets them: one sentence on stderr, nothing on stdout, exit code 1
// or 2.
#include <algorithm>
#include <fstream>
#include <nlohmann/json.hpp>

#include "support/process.h"
#include "support/support.h"
#include "support/tiny.h"

using namespace d2dmoe;
using namespace d2dmoe::test;
namespace fs = std::filesystem;

namespace {

void check_fails(const Finished& result, int code, const std::vector<std::string>& parts) {
  INFO(result.err);
  CHECK(result.code == code);
  CHECK(result.out == "");
  CHECK(contains(result.err, "error: "));
  CHECK(std::count(result.err.begin(), result.err.end(), '\n') <= 2);
  for (const std::string& part : parts) CHECK(contains(result.err, part));
}

void replace_in(const fs::path& file, const std::string& from, const std::string& to) {
  std::ifstream in(file);
  std::string text((std::istreambuf_iterator<char>(in)), {});
  in.close();
  const size_t at = text.find(from);
  REQUIRE(at != std::string::npos);
  std::ofstream(file) << text.replace(at, from.size(), to);
}

}  // namespace

TEST_CASE("cli: wrong usage exits with 2") {
  CHECK(test::d2dmoe({}).code == 2);
  CHECK(test::d2dmoe({"no-such-command"}).code == 2);
  CHECK(test::d2dmoe({"train"}).code == 2);
  CHECK(test::d2dmoe({"train", "--no-such-option"}).code == 2);
  CHECK(test::d2dmoe({"--help"}).code == 0);
  CHECK(contains(test::d2dmoe({"--version"}).out, "0.1.0"));
}

TEST_CASE("cli: a misspelt command or option names the nearest") {
  check_fails(test::d2dmoe({"foo"}), 2, {"'foo': no such command", "d2dmoe --help"});
  check_fails(test::d2dmoe({"trian", "--config", "x.json"}), 2, {"'trian'", "did you mean 'train'?"});
  check_fails(test::d2dmoe({"predict", "--modle", "x"}), 2, {"'--modle'", "did you mean '--model'?"});
  check_fails(test::d2dmoe({"eval", "--confg=x.json"}), 2, {"'--confg'", "did you mean '--config'?"});
  check_fails(test::d2dmoe({"inspect", "a", "b"}), 2, {"'b': one argument too many"});
  check_fails(test::d2dmoe({"train"}), 2, {"--config is required", "d2dmoe train --help"});
  check_fails(test::d2dmoe({"predict", "--batch-size", "many"}), 2, {"--batch-size", "many"});
  check_fails(test::d2dmoe({}), 2, {"no command", "d2dmoe --help"});
}

TEST_CASE("cli: config mistakes name file, line, key and remedy") {
  TempDir dir;
  const auto config = write_tiny_experiment(dir.path());
  const auto run = [&](const std::vector<std::string>& more) {
    std::vector<std::string> arguments = {"train", "--config", config.string()};
    arguments.insert(arguments.end(), more.begin(), more.end());
    return test::d2dmoe(arguments);
  };
  check_fails(run({"--set", "train.optimizer.lrr=1"}), 2, {"train.optimizer.lrr", "'lr'"});
  check_fails(run({"--set", "train.batch_size=0"}), 2, {"train.batch_size", "1"});
  check_fails(run({"--set", "train.metric=acuracy"}), 2, {"acuracy", "accuracy"});
  check_fails(run({"--device", "tpu"}), 2, {"tpu", "cpu"});
  check_fails(run({"--set", "data.text=txt"}), 2, {"txt", "text", "train.txt"});
  check_fails(run({"--set", "data.train=/no/such.csv"}), 2, {"/no/such.csv"});
  check_fails(run({"--set", "data.train="}), 2, {"'data.train'", "Hint: --set data.train=FILE"});
  check_fails(run({"--set", "data.label_names=joy"}), 2, {"'data.label_names'", "one name", "at least two"});
  check_fails(run({"--set", "sweep_tau.rule=all", "--set", "sweep_tau.budget=0.5"}), 2,
              {"'sweep_tau.rule'", "budget", "Hint: "});
  check_fails(run({"--set", "model.path=/no/model"}), 2, {"/no/model"});
  replace_in(config, "\"batch_size\"", "\"batch_sise\"");
  check_fails(run({}), 2, {"config.json:", "batch_sise", "batch_size"});
  std::ofstream(config) << "{\"train\": ";
  check_fails(run({}), 2, {"config.json"});
}

TEST_CASE("cli: damaged model folders are one sentence and exit code 1") {
  TempDir dir;
  const auto config = write_tiny_experiment(dir.path());
  const auto train = [&] { return test::d2dmoe({"train", "--config", config.string()}); };
  const auto weights = dir / "model" / "model.safetensors";

  fs::copy_file(weights, dir / "whole");
  fs::resize_file(weights, fs::file_size(weights) / 2);
  check_fails(train(), 1, {"model.safetensors"});
  fs::remove(weights);  // training would start from nothing
  check_fails(test::d2dmoe({"predict", "--model", (dir / "model").string()}), 1,
              {"has no weights: neither model.safetensors", "Only `d2dmoe train`"});
  fs::copy_file(dir / "whole", weights);

  replace_in(dir / "model" / "config.json", "\"bert\"", "\"mamba\"");
  check_fails(train(), 1, {"mamba", "bert"});
  replace_in(dir / "model" / "config.json", "\"mamba\"", "\"bert\"");

  replace_in(dir / "model" / "vocab.txt", "[UNK]", "[UNG]");
  check_fails(train(), 1, {"vocab.txt", "[UNK]"});
}

TEST_CASE("cli: tensors of another shape or dtype name file, tensor, expected and found") {
  TempDir dir;
  const auto config = write_tiny_experiment(dir.path());
  const auto train = [&] { return test::d2dmoe({"train", "--config", config.string()}); };
  replace_in(dir / "model" / "config.json", "\"intermediate_size\": 64", "\"intermediate_size\": 32");
  check_fails(train(), 1,
              {"model/model.safetensors'", "bert.encoder.layer.0.intermediate.dense.bias' has shape [64],",
               "it must be [32].", "model/config.json", "Hint: "});
  replace_in(dir / "model" / "config.json", "\"intermediate_size\": 32", "\"intermediate_size\": 64");

  replace_in(dir / "model" / "model.safetensors", "\"dtype\":\"F32\"", "\"dtype\":\"I32\"");
  check_fails(train(), 1, {"model/model.safetensors'", "has dtype I32, must be F32", "Hint: "});
  replace_in(dir / "model" / "model.safetensors", "\"dtype\":\"I32\"", "\"dtype\":\"F32\"");

  replace_in(dir / "model" / "config.json", "\"gelu\"", "\"swish9\"");
  check_fails(train(), 1, {"model/config.json", "'hidden_act'", "\"swish9\"", "did you mean \"swish\"?"});
}

TEST_CASE("cli: rows without a usable label name line, label and remedy") {
  TempDir dir;
  const auto config = write_tiny_experiment(dir.path()).string();
  const auto with_test = [&](const std::string& rows) {
    std::ofstream(dir / "bad.txt") << "text;label_name\n" << rows;
    return test::d2dmoe({"run", "--config", config, "--set", "data.test=" + (dir / "bad.txt").string()});
  };
  check_fails(with_test("some words;joyy\n"), 2, {"bad.txt:2", "'joyy'", "did you mean 'joy'?"});
  check_fails(with_test("some words;envious\n"), 2, {"bad.txt:2", "'envious'", "data.label_names"});
  check_fails(with_test("a;joy\nsome words;\n"), 1, {"bad.txt:3", "label is empty", "Hint: ", "label_name"});
}

TEST_CASE("cli: a stage whose forerunner has not run says which command to run") {
  TempDir dir;
  const auto config = write_tiny_experiment(dir.path());
  check_fails(test::d2dmoe({"train-sparse", "--config", config.string()}), 2, {"d2dmoe train"});
  check_fails(test::d2dmoe({"sweep-tau", "--config", config.string()}), 2, {"d2dmoe convert"});
}

TEST_CASE("cli: run finds what a later stage would refuse before the first one trains") {
  TempDir dir;
  const auto config = write_tiny_experiment(dir.path()).string();
  std::ofstream(dir / "bad.txt") << "text;label_name\nsome words;no_such_label\n";
  check_fails(test::d2dmoe({"run", "--config", config, "--set", "data.test=" + (dir / "bad.txt").string()}),
              2, {"no_such_label", "bad.txt:2"});
  check_fails(test::d2dmoe({"run", "--config", config, "--set", "convert.split.experts=7"}), 2, {"7", "8"});
  CHECK_FALSE(fs::exists(dir / "run" / "train"));
}

TEST_CASE("cli: export replaces nothing that exists") {
  TempDir dir;
  fs::create_directories(dir / "keep");
  std::ofstream(dir / "keep" / "notes.txt") << "precious";
  fs::create_directories(dir / "converted");
  std::ofstream(dir / "converted" / "d2dmoe.json") << "{}";
  check_fails(test::d2dmoe({"export", (dir / "converted").string(), (dir / "keep").string()}), 2, {"keep"});
  CHECK(fs::exists(dir / "keep" / "notes.txt"));
}

TEST_CASE("cli: predict refuses a folder as input and names the line that is not UTF-8") {
  TempDir dir;
  write_tiny_model(dir / "model");
  const std::string model = (dir / "model").string();
  check_fails(test::d2dmoe({"predict", "--model", model, dir.path().string()}), 2, {dir.path().string()});
  const auto result = test::d2dmoe({"predict", "--model", model}, "good line\nbad \xff line\n");
  INFO(result.err);
  CHECK(result.code == 1);
  CHECK(contains(result.err, "line 2"));
  CHECK(contains(result.out, "good line"));
}
