// `d2dmoe inspect` as its user sees it, and what commands say to a folder that is no model's.
#include <nlohmann/json.hpp>

#include "d2dmoe/io/atomic_file.h"
#include "support/process.h"
#include "support/support.h"
#include "support/tiny.h"

using namespace d2dmoe;
using namespace d2dmoe::test;
using Json = nlohmann::ordered_json;
namespace fs = std::filesystem;

namespace {

/// Gives a tensor another name of the same length, so that a reader does not find it.
void hide_tensor(const fs::path& weights, const std::string& name) {
  std::string bytes = io::read_file(weights);
  const size_t at = bytes.find('"' + name + '"');
  REQUIRE(at != std::string::npos);
  bytes[at + 1] = '~';
  io::write_file(weights, bytes);
}

Json inspected(const fs::path& folder) {
  const auto result = test::d2dmoe({"inspect", folder.string(), "--json"});
  INFO(result.err);
  REQUIRE(result.code == 0);
  return Json::parse(result.out);
}

}  // namespace

TEST_CASE("inspect: parameters are a whole number, a head has labels and an encoder without one has none") {
  TempDir dir;
  write_tiny_model(dir / "model");
  const Json whole = inspected(dir / "model");
  CHECK(Json::parse(test::d2dmoe({"inspect", "-m", (dir / "model").string(), "--json"}).out) == whole);
  CHECK(whole.at("parameters").is_number_integer());
  CHECK(whole.at("parameters").get<int64_t>() > 20'000);
  CHECK(whole.at("task") == "classification");
  CHECK(whole.at("labels").size() == 6);

  for (const char* name : {"classifier.weight", "classifier.bias"})
    hide_tensor(dir / "model/model.safetensors", name);
  Json config = Json::parse(io::read_file(dir / "model/config.json"));
  for (const char* key : {"id2label", "label2id", "num_labels", "problem_type"}) config.erase(key);
  config["architectures"] = Json::array({"BertModel"});
  io::write_file(dir / "model/config.json", config.dump());
  const Json bare = inspected(dir / "model");
  CHECK(bare.at("task") == "none");
  CHECK(bare.at("labels").empty());
  const auto text = test::d2dmoe({"inspect", (dir / "model").string()});
  CHECK(text.code == 0);
  CHECK_FALSE(contains(text.out, "LABEL_"));
  CHECK(contains(text.out, "task         none: there is no head"));
}

TEST_CASE("cli: the folder of a run or of a stage is told from its model's") {
  TempDir dir;
  const std::string config = write_tiny_experiment(dir.path()).string();
  fs::create_directories(dir / "run/train_sparse");
  fs::copy(dir / "model", dir / "run/train_sparse/model", fs::copy_options::recursive);
  io::write_file(dir / "run/train_sparse/config.json", "{}");  // every stage's folder has one
  const auto check = [&](const std::string& folder, const std::string& model) {
    for (const std::vector<std::string>& command : {std::vector<std::string>{"inspect"},
                                                    {"export", "--dry-run", (dir / "out").string()},
                                                    {"predict", "--model"},
                                                    {"generate", "--model"},
                                                    {"bench", "--model"},
                                                    {"eval", "--config", config, "--model"}}) {
      auto arguments = command;
      if (command[0] == "export")
        arguments.insert(arguments.end() - 1, folder);
      else
        arguments.push_back(folder);
      const auto result = test::d2dmoe(arguments, "a text\n");
      INFO(command[0] << ": " << result.err);
      CHECK(result.code == 2);
      CHECK(result.out == "");
      CHECK(contains(result.err, "'" + folder + "': holds no model itself"));
      CHECK(contains(result.err, "Hint: there is one in '" + model + "'"));
    }
  };
  const auto model_of = [&](const std::string& stage) {
    return (dir.path() / "run" / stage / "model").string();
  };
  check((dir / "run").string(), model_of("train_sparse"));
  check((dir / "run/train_sparse").string(), model_of("train_sparse"));
  fs::create_directories(dir / "run/convert");
  fs::copy(dir / "model", dir / "run/convert/model", fs::copy_options::recursive);
  check((dir / "run").string(), model_of("convert"));

  // A sweep leaves no model: it measures another stage's.
  io::write_file(dir / "run/sweep_tau/config.json", R"({"stage": "sweep_tau", "start_folder": "x"})");
  check((dir / "run/sweep_tau").string(), model_of("convert"));
  for (const char* stage : {"convert", "train_sparse"}) fs::remove_all(dir / "run" / stage);
  const auto alone = test::d2dmoe({"inspect", (dir / "run/sweep_tau").string()});
  CHECK(alone.code == 2);
  CHECK(contains(alone.err, "is the folder of the stage sweep_tau and holds no model"));
}
