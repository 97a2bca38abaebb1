// `d2dmoe bench` as its user sees it; nothing here depends on how fast anything is.
#include <nlohmann/json.hpp>

#include "d2dmoe/io/atomic_file.h"
#include "support/process.h"
#include "support/support.h"
#include "support/tiny.h"

using namespace d2dmoe;
using namespace d2dmoe::test;
using Json = nlohmann::ordered_json;

namespace {

Finished run_bench(std::vector<std::string> more) {
  std::vector<std::string> arguments = {"bench", "--runs", "2", "--seconds", "0"};
  arguments.insert(arguments.end(), more.begin(), more.end());
  return test::d2dmoe(arguments);
}

}  // namespace

TEST_CASE("bench: a layer of one's own, as JSON, with pictures") {
  TempDir dir;
  const auto run = run_bench({"--d-model",
                              "20",
                              "--experts",
                              "6",
                              "--expert-size",
                              "33",
                              "--gated",
                              "--activation",
                              "silu",
                              "--rows",
                              "1,17",
                              "--share",
                              "0.5,1",
                              "--mask",
                              "hot,clustered",
                              "--threads",
                              "1",
                              "--seed",
                              "7",
                              "--json",
                              "-o",
                              (dir / "out").string()});
  INFO(run.err);
  REQUIRE(run.code == 0);
  const Json result = Json::parse(run.out);
  CHECK(result.at("machine").at("threads") == 1);
  CHECK(result.at("machine").at("device") == "cpu");
  CHECK(result.at("peaks").at("gflops").get<double>() > 0);
  CHECK(result.at("peaks").at("gigabytes_per_second").get<double>() > 0);
  CHECK(result.at("dtype") == "float32");
  CHECK(result.at("seed") == 7);
  CHECK(result.at("formulas").contains("GFLOP/s"));
  REQUIRE(result.at("layers").size() == 2);
  const Json& layer = result.at("layers")[0];
  CHECK(layer.at("name") == "6x33");
  CHECK(layer.at("mask") == "hot");
  CHECK(layer.at("gated") == true);
  CHECK(layer.at("activation") == "silu");
  CHECK(layer.at("weight_bytes") == 3 * 4 * 20 * 6 * 33);
  REQUIRE(layer.at("points").size() == 4);
  const Json& point = layer.at("points")[2];
  CHECK(point.at("rows") == 17);
  CHECK(point.at("share").get<double>() == Approx(0.5));
  CHECK(point.at("turns") == 2);
  for (const char* way : {"dense", "kernel", "auto", "routing", "layer"}) {
    INFO(way);
    CHECK(point.at(way).at("p10_ms") <= point.at(way).at("median_ms"));
    CHECK(point.at(way).at("median_ms") <= point.at(way).at("p90_ms"));
  }
  CHECK(Json::parse(io::read_file(dir / "out/bench.json")) == result);
  CHECK(io::read_file(dir / "out/bench.png").substr(1, 3) == "PNG");
  CHECK(contains(io::read_file(dir / "out/bench.svg"), ">6x33</text>"));
}

TEST_CASE("bench: tables on stdout, another instruction set by the environment") {
  const auto table =
      run_bench({"--preset", "minilm", "--rows", "3", "--share", "0.25", "--router-width", "16"});
  INFO(table.err);
  REQUIRE(table.code == 0);
  CHECK(contains(table.out, "minilm: D 384, 64 experts of 24, relu, router 384-16-64"));
  CHECK(contains(table.out, "     3  25.0 %"));
  CHECK(contains(table.out, "peaks: "));
  setenv("D2DMOE_ISA", "portable", 1);
  const auto markdown = run_bench({"--preset", "minilm", "--rows", "3", "--share", "0.25", "--markdown"});
  unsetenv("D2DMOE_ISA");
  REQUIRE(markdown.code == 0);
  CHECK(contains(markdown.out, ", portable, "));
  CHECK(contains(markdown.out, "| rows | mask"));
}

TEST_CASE("bench: --dry-run tells layers, points, memory and time") {
  TempDir dir;
  const auto run = test::d2dmoe({"bench", "--preset", "llama-7b,minilm", "--rows", "1,16", "--share", "0.1",
                                 "--dry-run", "--json", "-o", (dir / "out").string()});
  INFO(run.err);
  REQUIRE(run.code == 0);
  const Json plan = Json::parse(run.out);
  CHECK(plan.at("points").dump() == "4");  // a count has no decimals
  CHECK(plan.at("layers").size() == 2);
  CHECK(plan.at("memory_bytes").get<double>() > 4 * 135'266'304.0);
  CHECK(plan.at("seconds").get<double>() > 8);
  CHECK(plan.at("writes").size() == 4);
  CHECK_FALSE(std::filesystem::exists(dir / "out"));
  const auto text = test::d2dmoe({"bench", "--dry-run"});
  CHECK(contains(text.out, "24x128: D 768, 24 experts of 128"));
}

TEST_CASE("bench: the folder of the results is not the experiment's, whose model is timed") {
  TempDir dir;
  const std::string config = write_tiny_experiment(dir.path()).string();
  const std::string model = (dir / "run/convert/model").string();
  write_tiny_model(model);  // not converted, but a plan only measures it
  const auto plan = [&](std::vector<std::string> arguments) {
    arguments.insert(arguments.begin(), {"bench", "--dry-run", "--json"});
    return test::d2dmoe(arguments);
  };
  const auto found = [&](const std::vector<std::string>& arguments) {
    const auto run = plan(arguments);
    INFO(run.err);
    REQUIRE(run.code == 0);
    return Json::parse(run.out);
  };
  for (const char* option : {"-o", "--output"}) {
    INFO(option);
    const Json with_results = found({"--config", config, option, (dir / "results").string()});
    CHECK(with_results.at("model") == model);
    REQUIRE(with_results.at("writes").size() == 4);
    CHECK(with_results.at("writes")[0] == (dir / "results/bench.json").string());
  }
  const Json of_folder = found({"--output-dir", (dir / "run").string()});
  CHECK(of_folder.at("model") == model);
  CHECK(of_folder.at("writes").empty());
  const auto elsewhere = plan({"--config", config, "--output-dir", (dir / "elsewhere").string()});
  CHECK(elsewhere.code == 2);
  CHECK(contains(elsewhere.err, "no stage has a model there"));
  const auto layer = plan({"--preset", "minilm", "--output-dir", (dir / "results").string()});
  CHECK(layer.code == 2);
  CHECK(contains(layer.err, "-o is the folder"));
}

TEST_CASE("bench: mistakes end with 2 and name the remedy") {
  TempDir dir;
  const auto fails = [](const std::vector<std::string>& arguments, const std::string& part) {
    auto whole = arguments;
    whole.insert(whole.begin(), "bench");
    const auto run = test::d2dmoe(whole);
    INFO(run.err);
    CHECK(run.code == 2);
    CHECK(run.out == "");
    CHECK(contains(run.err, part));
  };
  fails({"--preset", "bert-bass"}, "did you mean 'bert-base'?");
  fails({"--mask", "cold"}, "'--mask cold': no such kind. Hint: ");
  fails({"--share", "1.5"}, "'--share 1.5': must be in [0, 1]");
  fails({"--rows", "0"}, "'--rows 0': must be in [1, 1048576]");
  fails({"--rows", "a"},
        "'--rows a': must be whole numbers separated by commas. Hint: `d2dmoe bench --help`");
  fails({"--rows", "16,2.5"}, "'--rows 16,2.5': must be whole numbers");
  fails({"--share", "half"}, "'--share half': must be numbers separated by commas");
  fails({"--copies", "many"}, "'--copies many': must be a whole number. Hint: ");
  fails({"--dtype", "int8"}, "'int8' is not a dtype");
  fails({"--activation", "swoosh"}, "'--activation swoosh': no such activation. Hint: there are relu");
  fails({"--runs", "0"}, "'--runs 0'");
  fails({"--seconds", "-1"}, "'--seconds -1'");
  fails({"--batch", "0"}, "'--batch 0'");
  fails({"--active", "0"}, "'--active 0'");
  fails({"--gated"}, "belong to a layer of your own. Hint: --d-model");
  fails({"--d-model", "8"}, "Hint: --preset NAME, or all of --d-model, --experts and --expert-size");
  fails({"--router-width", "2"}, "'--router-width 2': must be at least 8");
  fails({"--model", (dir / "none").string()}, "no such folder");
  fails({"--model", dir.path().string()}, "has no d2dmoe.json, must be a converted model folder. Hint: ");
  fails({"--device", "tpu"}, "'device' is \"tpu\", must be auto, cpu");
}

TEST_CASE("bench: a folder that results cannot be written to is refused before anything is measured") {
  TempDir dir;
  io::write_file(dir / "notes.txt", "precious");
  std::filesystem::create_directories(dir / "taken/bench.md");
  const auto refused = [](const std::filesystem::path& output, int code, const std::string& part) {
    for (const bool dry : {false, true}) {
      std::vector<std::string> arguments = {"--d-model",     "8", "--experts", "2",
                                            "--expert-size", "8", "--rows",    "1",
                                            "--share",       "1", "-o",        output.string()};
      if (dry) arguments.emplace_back("--dry-run");
      const auto run = run_bench(arguments);
      INFO(run.err);
      CHECK(run.code == code);
      CHECK(run.out == "");
      CHECK(contains(run.err, part));
    }
  };
  refused(dir / "notes.txt", 1, "notes.txt': cannot create this folder: a part of this path is a file");
  refused(dir / "notes.txt/below", 1, "below': cannot create this folder: a part of this path is a file");
  refused("/proc/results", 1, "'/proc/results': cannot create this folder: ");  // permissions allow root that
  refused(dir / "taken", 2, "'bench.md' is a folder there");
  CHECK(io::read_file(dir / "notes.txt") == "precious");
  CHECK(std::filesystem::is_directory(dir / "taken/bench.md"));
}
