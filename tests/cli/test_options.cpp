// The options that every command takes: --config, --set, --print-config, --dry-run, --device, --threads,
// --seed,
// --output-dir.
#include <fstream>
#include <nlohmann/json.hpp>

#include "support/process.h"
#include "support/support.h"
#include "support/tiny.h"

using namespace d2dmoe;
using namespace d2dmoe::test;
using Json = nlohmann::ordered_json;
namespace fs = std::filesystem;

namespace {

const std::vector<std::string> kCommands = {"train",   "train-sparse", "convert", "sweep-tau", "run",  "eval",
                                            "predict", "report",       "export",  "inspect",   "bench"};

/// Everything below a folder with its content's size, to see that nothing was written.
std::vector<std::string> listing(const fs::path& dir) {
  std::vector<std::string> files;
  for (const auto& entry : fs::recursive_directory_iterator(dir)) {
    const auto bytes = entry.is_regular_file() ? fs::file_size(entry.path()) : 0;
    files.push_back(entry.path().string() + " " + std::to_string(bytes));
  }
  std::sort(files.begin(), files.end());
  return files;
}

/// An experiment whose furthest "finished" stage is a model folder put there by hand.
fs::path experiment_with_model(const TempDir& dir) {
  const auto config = write_tiny_experiment(dir.path());
  fs::create_directories(dir / "run/train");
  fs::copy(dir / "model", dir / "run/train/model", fs::copy_options::recursive);
  return config;
}

}  // namespace

TEST_CASE("options: every command has the common ones and prints the resolved config") {
  TempDir dir;
  const auto config = write_tiny_experiment(dir.path()).string();
  for (const std::string& command : kCommands) {
    INFO(command);
    const auto help = test::d2dmoe({command, "--help"});
    for (const char* option : {"--config", "--set", "--print-config", "--dry-run", "--device", "--threads",
                               "--seed", "--output-dir"}) {
      INFO(option);
      CHECK(contains(help.out, option));
    }
    const auto printed = test::d2dmoe({command, "--config", config, "--set", "data.max_length=31", "--device",
                                       "cpu", "--threads", "1", "--seed", "77", "--output-dir",
                                       (dir / "elsewhere").string(), "--print-config"});
    INFO(printed.err);
    REQUIRE(printed.code == 0);
    const Json resolved = Json::parse(printed.out);
    CHECK(resolved.at("seed") == 77);
    CHECK(resolved.at("threads") == 1);
    CHECK(resolved.at("device") == "cpu");
    CHECK(resolved.at("data").at("max_length") == 31);
    CHECK(resolved.at("output_dir") == (dir / "elsewhere").string());
    CHECK(test::d2dmoe({command, "--config", config, "--seed", "-1", "--print-config"}).code == 2);
  }
  CHECK_FALSE(fs::exists(dir / "elsewhere"));
}

TEST_CASE("options: --dry-run says what would be read and written, and does nothing") {
  TempDir dir;
  const auto config = experiment_with_model(dir).string();
  const std::string model = (dir / "run/train/model").string();
  std::ofstream(dir / "texts.txt") << "i feel fine\nso angry\n";
  const auto before = listing(dir.path());
  const auto plan = [&](std::vector<std::string> arguments) {
    arguments.insert(arguments.end(), {"--config", config, "--dry-run", "--json"});
    const auto result = test::d2dmoe(arguments);
    INFO(result.err);
    REQUIRE(result.code == 0);
    CHECK(listing(dir.path()) == before);
    return Json::parse(result.out);
  };

  const Json eval = plan({"eval"});
  CHECK(eval.at("model") == model);
  CHECK(eval.at("sentences") == 80);
  CHECK(eval.at("memory_bytes").get<double>() > 4 * eval.at("parameters").get<double>());
  CHECK(eval.at("seconds").get<double>() > 0);
  for (const char* count : {"parameters", "sentences", "tokens", "memory_bytes", "peak_bytes"}) {
    INFO(count);
    CHECK(eval.at(count).is_number_integer());
  }
  CHECK(eval.at("reads").back() == (dir / "test.txt").string());
  CHECK(eval.at("writes").empty());

  const Json inspect = plan({"inspect"});
  CHECK(inspect.at("model") == model);
  CHECK(inspect.at("parameters") == eval.at("parameters"));

  const Json predict = plan({"predict", (dir / "texts.txt").string()});
  CHECK(predict.at("sentences") == 2);
  CHECK(predict.at("tokens").get<double>() >= 9);
  CHECK(predict.at("max_length") == 48);
  CHECK(predict.at("writes") == Json::array({"stdout"}));

  const Json report = plan({"report"});
  CHECK(report.at("reads") == Json::array({fs::canonical(dir / "run/train").string()}));
  CHECK(report.at("writes") == Json::array({(dir / "run/report.html").string()}));

  for (const bool dry : {true, false}) {
    std::vector<std::string> arguments = {"report", "--config", config, "-o", "/proc/page.html"};
    if (dry) arguments.emplace_back("--dry-run");
    const auto nowhere = test::d2dmoe(arguments);
    INFO(nowhere.err);
    CHECK(nowhere.code == 1);
    CHECK(nowhere.out == "");
    CHECK(contains(nowhere.err, "'/proc': cannot write here: "));
  }

  std::ofstream(dir / "run/train/model/d2dmoe.json") << "{}";  // enough to pass for a converted folder
  const auto result =
      test::d2dmoe({"export", (dir / "out").string(), "--config", config, "--dry-run", "--json"});
  INFO(result.err);
  REQUIRE(result.code == 0);
  CHECK(Json::parse(result.out).at("writes") == Json::array({(dir / "out").string()}));
  CHECK_FALSE(fs::exists(dir / "out"));

  const auto text = test::d2dmoe({"eval", "--config", config, "--dry-run"});
  CHECK(contains(text.out, "\"max_length\": 48"));
  CHECK(contains(text.out, "parameters"));
}

TEST_CASE("options: the experiment's furthest model is what commands look at") {
  TempDir dir;
  const auto config = experiment_with_model(dir).string();
  const auto inspect = test::d2dmoe({"inspect", "--config", config, "--json"});
  INFO(inspect.err);
  REQUIRE(inspect.code == 0);
  CHECK(Json::parse(inspect.out).at("folder") == (dir / "run/train/model").string());

  // data.max_length of the config holds, --max-length goes before it.
  const std::string text = "i feel so very happy and calm and fine today\n";
  const auto tokens = [&](const std::vector<std::string>& more) {
    std::vector<std::string> arguments = {"predict", "--tokens"};
    arguments.insert(arguments.end(), more.begin(), more.end());
    const auto result = test::d2dmoe(arguments, text);
    INFO(result.err);
    REQUIRE(result.code == 0);
    return Json::parse(result.out).at("tokens").size();
  };
  CHECK(tokens({"--config", config, "--set", "data.max_length=5"}) == 5);
  CHECK(tokens({"--config", config, "--set", "data.max_length=5", "--max-length", "7"}) == 7);
  CHECK(tokens({"--model", (dir / "model").string()}) >= 11);
  CHECK(tokens({"--output-dir", (dir / "run").string()}) >= 11);

  fs::remove_all(dir / "run");
  for (const std::string command : {"predict", "inspect", "eval"}) {
    const auto none = test::d2dmoe({command, "--config", config});
    CHECK(none.code == 2);
    CHECK(contains(none.err, "no stage has a model there. Hint: "));
  }
}
