// All commands on a tiny experiment, as a user would type them.
#include <fstream>
#include <nlohmann/json.hpp>
#include <sstream>

#include "d2dmoe/io/atomic_file.h"
#include "support/process.h"
#include "support/support.h"
#include "support/tiny.h"

using namespace d2dmoe;
using namespace d2dmoe::test;
using Json = nlohmann::ordered_json;

TEST_CASE("commands: run goes through all stages, and every other command reads what it wrote") {
  TempDir dir;
  const std::string config = write_tiny_experiment(dir.path()).string();

  const auto dry = test::d2dmoe({"run", "--config", config, "--dry-run", "--json"});
  INFO(dry.err);
  REQUIRE(dry.code == 0);
  const Json plan = Json::parse(dry.out);
  CHECK(plan.at("stages").size() == 4);
  CHECK(plan.at("stages").at("train").at("steps") == 20);
  CHECK_FALSE(std::filesystem::exists(dir / "run"));

  const auto run = test::d2dmoe({"run", "--config", config});
  INFO(run.err);
  REQUIRE(run.code == 0);
  for (const char* file :
       {"train/model/model.safetensors", "train_sparse/metrics.jsonl", "convert/convert.json",
        "convert/model/d2dmoe.json", "convert/model/routers.safetensors", "sweep_tau/points.jsonl",
        "sweep_tau/curve.svg", "sweep_tau/curve.png", "sweep_tau/curve.csv", "report.html"}) {
    INFO(file);
    CHECK(std::filesystem::exists(dir / "run" / file));
  }
  std::istringstream points(io::read_file(dir / "run" / "sweep_tau/points.jsonl"));
  int count = 0;
  for (std::string line; std::getline(points, line); ++count) {
    const Json point = Json::parse(line);
    CHECK(point.at("executed_share").get<double>() >= 0);
    CHECK(point.at("executed_share").get<double>() <= 1);
    CHECK(point.at("time").size() == 2);
  }
  CHECK(count == 3);

  // docs/file-formats.md lists every key of every event.
  std::string formats = io::read_file("docs/file-formats.md");
  formats.erase(0, formats.find("Events of `metrics.jsonl`"));
  for (const std::string stage : {"train", "train_sparse", "convert"}) {
    std::istringstream events(io::read_file(dir / "run" / stage / "metrics.jsonl"));
    for (std::string line; std::getline(events, line);) {
      const Json event = Json::parse(line);
      const std::string row = "| `" + event.at("event").get<std::string>() + "` |";
      INFO(row);
      REQUIRE(contains(formats, row));
      std::string documented = formats.substr(formats.find(row));
      documented.resize(documented.find('\n'));
      for (const auto& [key, value] : event.items()) {
        INFO(key);
        if (key != "event") CHECK(contains(documented, "`" + key));
      }
    }
  }

  // A second run has nothing to do and says the same.
  const auto again = test::d2dmoe({"run", "--config", config});
  CHECK(again.code == 0);
  CHECK(again.out == run.out);

  const std::string model = (dir / "run" / "convert/model").string();
  const auto inspect = test::d2dmoe({"inspect", model, "--json"});
  INFO(inspect.err);
  REQUIRE(inspect.code == 0);
  const Json facts = Json::parse(inspect.out);
  CHECK(facts.at("converted") == true);
  CHECK(facts.at("parent_matches") == "yes");
  CHECK(facts.at("sites").size() == 2);
  CHECK(facts.at("sites")[0].at("experts") == 8);

  const auto evaluated =
      test::d2dmoe({"eval", "--config", config, "--rule", "dynamic_k", "--value", "0.5", "--json"});
  INFO(evaluated.err);
  REQUIRE(evaluated.code == 0);
  const Json quality = Json::parse(evaluated.out);
  CHECK(quality.at("sentences") == 80);
  CHECK(quality.at("cost").at("executed_share").get<double>() < 1);

  for (const std::vector<std::string>& wrong :
       {std::vector<std::string>{"--rule", "dynamic_k", "--value", "2"},
        {"--rule", "top_k", "--value", "9"},
        {"--floor", "-1"}}) {
    for (const std::string command : {"eval", "predict"}) {
      std::vector<std::string> arguments = {command, "--config", config};
      arguments.insert(arguments.end(), wrong.begin(), wrong.end());
      const auto refused = test::d2dmoe(arguments, "a text\n");
      INFO(refused.err);
      CHECK(refused.code == 2);
      CHECK(contains(refused.err, "[selection] '--rule, --value and --floor': "));
      CHECK(contains(refused.err, "(site 'layers.0.ffn')"));
    }
  }
  for (const std::string command : {"eval", "predict"}) {
    const auto refused =
        test::d2dmoe({command, "--config", config, "--rule", "all", "--value", "0.3"}, "a text\n");
    INFO(refused.err);
    CHECK(refused.code == 2);
    CHECK(refused.out == "");
    CHECK(
        contains(refused.err, "'--value 0.3': the rule \"all\" runs every expert and has no value. Hint: "));
  }
  CHECK(test::d2dmoe({"predict", "--config", config, "--rule", "all", "--floor", "1"}, "a text\n").code == 2);
  const auto everything = test::d2dmoe({"predict", "--config", config, "--rule", "all"}, "a text\n");
  INFO(everything.err);
  REQUIRE(everything.code == 0);
  CHECK(Json::parse(everything.out).at("executed_share") == 1);
  const auto without_interval = test::d2dmoe({"eval", "--config", config, "--set", "sweep_tau.bootstrap=0"});
  CHECK(without_interval.code == 0);
  CHECK_FALSE(contains(without_interval.out, "95 %"));
  CHECK(contains(test::d2dmoe({"eval", "--config", config}).out, "95 %"));
  const auto floored = test::d2dmoe({"predict", "--config", config, "--floor", "1000000"}, "i feel fine\n");
  INFO(floored.err);
  REQUIRE(floored.code == 0);
  CHECK(Json::parse(floored.out).at("executed_share") == 0);

  // Fewer tokens than CLS_8 looks at.
  std::ofstream(dir / "short.txt") << "text;label_name\na;joy\n";
  const auto single = test::d2dmoe(
      {"eval", "--config", config, "--set", "data.test=" + (dir / "short.txt").string(), "--json"});
  INFO(single.err);
  CHECK(single.code == 0);

  const auto predicted =
      test::d2dmoe({"predict", "--model", model, "--tokens"}, "i feel quite happy\n\ni am so angry\n");
  INFO(predicted.err);
  REQUIRE(predicted.code == 0);
  std::istringstream lines(predicted.out);
  std::vector<Json> answers;
  for (std::string line; std::getline(lines, line);) answers.push_back(Json::parse(line));
  REQUIRE(answers.size() == 3);
  CHECK(answers[0].at("text") == "i feel quite happy");
  CHECK(answers[0].at("tokens").size() >= 6);
  CHECK(answers[0].at("tokens")[0].at("token") == "[CLS]");
  CHECK(answers[1].at("text") == "");
  double total = 0;
  for (const auto& [label, probability] : answers[2].at("probabilities").items())
    total += probability.get<double>();
  CHECK(std::abs(total - 1) < 1e-5);

  const auto dense = test::d2dmoe({"export", "-m", model, (dir / "dense").string(), "--original-order"});
  INFO(dense.err);
  REQUIRE(dense.code == 0);
  const Json exported = Json::parse(test::d2dmoe({"inspect", (dir / "dense").string(), "--json"}).out);
  CHECK(exported.at("converted") == false);
  CHECK(exported.at("weights_sha256") == facts.at("parent").at("weights_sha256"));

  const auto report = test::d2dmoe({"report", (dir / "run").string(), "-o", (dir / "page.html").string()});
  CHECK(report.code == 0);
  CHECK(contains(io::read_file(dir / "page.html"), "<svg"));
}
