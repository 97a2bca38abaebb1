// A language model through all stages, on running text and on questions.
#include <fstream>

#include "d2dmoe/io/atomic_file.h"
#include "d2dmoe/models/model.h"
#include "d2dmoe/stages/evaluate.h"
#include "d2dmoe/stages/generate.h"
#include "d2dmoe/stages/predict.h"
#include "d2dmoe/stages/run.h"
#include "d2dmoe/stages/stages.h"
#include "support/support.h"

using namespace d2dmoe;
using namespace d2dmoe::test;
namespace fs = std::filesystem;
using Json = nlohmann::ordered_json;

namespace {

Json experiment_json(const TempDir& dir) {
  std::string text;
  for (int i = 0; i < 60; ++i) {
    text +=
        "Lily had " + std::to_string(i) + " red balls and a blue hat. Tom saw the hat and was happy.\n---\n";
  }
  io::write_file(dir / "text.txt", text);
  const Json train = {{"epochs", 1}, {"batch_size", 8}, {"optimizer", {{"lr", 1e-3}}}};
  return {{"output_dir", (dir / "run").string()},
          {"threads", 1},
          {"model", {{"path", "data/stories260k"}}},
          {"data",
           {{"task", "language_modeling"},
            {"train", (dir / "text.txt").string()},
            {"test", (dir / "text.txt").string()},
            {"documents", {{"delimiter", "---"}, {"stride", 24}}},
            {"max_length", 32}}},
          {"train", train},
          {"train_sparse",
           {{"train", train},
            {"penalty", {{"name", "square_hoyer"}, {"alpha", 1e-3}}},
            {"distill", {{"teacher", "dense"}}}}},
          {"convert", {{"split", {{"expert_size", 4}}}, {"router", {{"epochs", 1}, {"width", 16}}}}},
          {"sweep_tau",
           {{"points", 3},
            {"time_batches", {1}},
            {"time_runs", 2},
            {"decode_tokens", 4},
            {"max_drop", 60},
            {"bootstrap", 50}}}};
}

config::LoadedExperiment load(const TempDir& dir, const Json& json) {
  const fs::path file = dir / "config.json";
  std::ofstream(file) << json.dump();
  return config::load_experiment(file, {});
}

}  // namespace

TEST_CASE("language model: all stages on running text") {
  const TempDir dir;
  const auto experiment = load(dir, experiment_json(dir));
  const Json results = stages::run(experiment);
  // It learns this text: the loss falls from stage to stage's first look.
  const double dense = results.at("train").at("best").at("value").get<double>();
  CHECK(results.at("train").at("best").at("metric") == "perplexity");
  CHECK(dense < 10);
  CHECK(results.at("train_sparse").at("mean_zeros").get<double>() > 0.3);
  const Json& sweep = results.at("sweep_tau");
  CHECK(sweep.at("metric") == "perplexity");
  const double all = sweep.at("all_experts").at("score").get<double>();
  CHECK(sweep.at("points").front().at("score").get<double>() == Approx(all).epsilon(1e-4));  // tau 0
  CHECK(sweep.at("points").back().at("score").get<double>() > all);
  CHECK(sweep.at("points").front().at("decode").at("tokens") == 4);
  const Json& last = sweep.at("points").back();
  CHECK(last.at("weight_bytes_share_token").get<double>() < last.at("weight_bytes_share").get<double>());
  CHECK(sweep.at("calibrated").at("validation").at("drop_points").get<double>() <= 60);

  const Json eval = stages::evaluate(experiment, {});
  CHECK(eval.at("metrics").contains("bits_per_byte"));
  CHECK(eval.at("model") == (dir / "run" / "convert" / "model").string());

  stages::GenerateRequest request;
  request.model = (dir / "run" / "convert" / "model").string();
  request.prompts = {"Lily had", "Tom"};
  request.max_new_tokens = 12;
  request.json = true;
  std::ostringstream out;
  const Json run = stages::generate(request, out);
  CHECK(run.at("executed_share").get<double>() < 1);
  std::istringstream lines(out.str());
  std::string line;
  REQUIRE(std::getline(lines, line));
  CHECK(Json::parse(line).at("prompt") == "Lily had");
  CHECK(Json::parse(line).at("new_tokens").get<int64_t>() <= 12);

  stages::PredictRequest predict;
  predict.model = request.model;
  std::istringstream in("Lily\n");
  CHECK(contains(message_of([&] { stages::predict(predict, {}, in, out); }), "d2dmoe generate"));
}

TEST_CASE("language model: fine-tuning and a sweep on questions") {
  const TempDir dir;
  std::string lines;
  for (int i = 0; i < 40; ++i) {
    const bool red = i % 2 == 0;
    lines += Json{{"question", std::string(red ? "Lily" : "Tom") + " has a hat. It is"},
                  {"choices", {"red", "blue"}},
                  {"label", red ? 0 : 1}}
                 .dump() +
             "\n";
  }
  Json json = experiment_json(dir);
  io::write_file(dir / "questions.jsonl", lines);
  json["data"] = {{"task", "multiple_choice"},
                  {"train", (dir / "questions.jsonl").string()},
                  {"test", (dir / "questions.jsonl").string()},
                  {"label", "label"},
                  {"max_length", 48}};
  json["train"]["epochs"] = 6;
  const Json results = stages::run(load(dir, json));
  const Json& sweep = results.at("sweep_tau");
  CHECK(sweep.at("metric") == "accuracy");
  CHECK(sweep.at("dense").at("score").get<double>() == 1);  // it learned who has which
  CHECK(sweep.at("calibrated").at("validation").at("drop_points").get<double>() <= 60);
  CHECK(sweep.at("calibrated").at("executed_share").get<double>() < 1);
}

TEST_CASE("language model: an encoder is no language model") {
  const TempDir dir;
  Json json = experiment_json(dir);
  json["model"]["path"] = golden("models/bert").string();
  CHECK_THROWS_AS(stages::train(load(dir, json)), Error);
}
