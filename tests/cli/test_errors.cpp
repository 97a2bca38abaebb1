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

void check_one_sentence(const Finished& result, int code, const std::vector<std::string>& parts) {
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

TEST_CASE("cli: config mistakes name file, line, key and remedy") {
  TempDir dir;
  const auto config = write_tiny_experiment(dir.path());
  const auto run = [&](const std::vector<std::string>& more) {
    std::vector<std::string> arguments = {"train", "--config", config.string()};
    arguments.insert(arguments.end(), more.begin(), more.end());
    return test::d2dmoe(arguments);
  };
  check_one_sentence(run({"--set", "train.optimizer.lrr=1"}), 2, {"train.optimizer.lrr", "'lr'"});
  check_one_sentence(run({"--set", "train.batch_size=0"}), 2, {"train.batch_size", "1"});
  check_one_sentence(run({"--set", "train.metric=acuracy"}), 2, {"acuracy", "accuracy"});
  check_one_sentence(run({"--device", "tpu"}), 2, {"tpu", "cpu"});
  check_one_sentence(run({"--set", "data.text=txt"}), 2, {"txt", "text", "train.txt"});
  check_one_sentence(run({"--set", "data.train=/no/such.csv"}), 2, {"/no/such.csv"});
  check_one_sentence(run({"--set", "model.path=/no/model"}), 2, {"/no/model"});
  replace_in(config, "\"batch_size\"", "\"batch_sise\"");
  check_one_sentence(run({}), 2, {"config.json:", "batch_sise", "batch_size"});
  std::ofstream(config) << "{\"train\": ";
  check_one_sentence(run({}), 2, {"config.json"});
}

TEST_CASE("cli: damaged model folders are one sentence and exit code 1") {
  TempDir dir;
  const auto config = write_tiny_experiment(dir.path());
  const auto train = [&] { return test::d2dmoe({"train", "--config", config.string()}); };
  const auto weights = dir / "model" / "model.safetensors";

  fs::copy_file(weights, dir / "whole");
  fs::resize_file(weights, fs::file_size(weights) / 2);
  check_one_sentence(train(), 1, {"model.safetensors"});
  fs::remove(weights);
  check_one_sentence(train(), 1, {"model.safetensors"});
  fs::copy_file(dir / "whole", weights);

  replace_in(dir / "model" / "config.json", "\"bert\"", "\"mamba\"");
  check_one_sentence(train(), 1, {"mamba", "bert"});
  replace_in(dir / "model" / "config.json", "\"mamba\"", "\"bert\"");

  replace_in(dir / "model" / "vocab.txt", "[UNK]", "[UNG]");
  check_one_sentence(train(), 1, {"vocab.txt", "[UNK]"});
}

TEST_CASE("cli: a stage whose forerunner has not run says which command to run") {
  TempDir dir;
  const auto config = write_tiny_experiment(dir.path());
  check_one_sentence(test::d2dmoe({"train-sparse", "--config", config.string()}), 2, {"d2dmoe train"});
  check_one_sentence(test::d2dmoe({"sweep-tau", "--config", config.string()}), 2, {"d2dmoe convert"});
}
