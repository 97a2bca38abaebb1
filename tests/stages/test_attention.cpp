// Attention projections through all stages.
#include <fstream>
#include <sstream>

#include "child.h"
#include "d2dmoe/core/error.h"
#include "d2dmoe/io/atomic_file.h"
#include "d2dmoe/io/json_file.h"
#include "d2dmoe/models/attention_sites.h"
#include "d2dmoe/moe/converted_folder.h"
#include "d2dmoe/moe/expert_feed_forward.h"
#include "d2dmoe/report/html_report.h"
#include "d2dmoe/stages/evaluate.h"
#include "d2dmoe/stages/generate.h"
#include "d2dmoe/stages/inspect.h"
#include "d2dmoe/stages/plan.h"
#include "d2dmoe/stages/stages.h"
#include "support/support.h"
#include "support/tiny.h"
#include "support/tiny_images.h"

using namespace d2dmoe;
using namespace d2dmoe::test;
namespace fs = std::filesystem;
using Json = nlohmann::ordered_json;

namespace {

/// A tiny experiment (D 32: perceptrons of 16) without `train` whose q and v become experts.
fs::path write_attention_experiment(const fs::path& dir) {
  const fs::path file = write_tiny_experiment(dir);
  Json json = Json::parse(io::read_file(file));
  json.erase("train");
  json["train_sparse"]["attention"] = {
      {"projections", {"q", "v"}}, {"epochs", 1}, {"batch_size", 32}, {"checkpoint_every", 1}};
  json["convert"]["attention"] = {{"expert_size", 4}, {"router_width", 4}};
  std::ofstream(file) << json.dump();
  return file;
}

}  // namespace

TEST_CASE("attention: projections go through all stages, and the report tells what they cost") {
  const TempDir dir;
  const auto experiment = config::load_experiment(write_attention_experiment(dir.path()), {});
  const fs::path run = dir / "run";

  const Json trained = stages::train_sparse(experiment);
  const Json& attention = trained.at("attention");
  CHECK(attention.at("metric") == "accuracy");
  CHECK(attention.at("before").at("loss").get<double>() > 0);
  CHECK(attention.at("after").at("loss").get<double>() != attention.at("before").at("loss").get<double>());
  CHECK(attention.at("flops_ratio") == 1);
  REQUIRE(attention.at("projections").size() == 4);
  CHECK(attention.at("projections")[1].at("site") == "layers.0.attention.v");
  CHECK(attention.at("projections")[1].at("width") == 16);
  CHECK(trained.at("best").at("sites").size() == 6);
  const fs::path sparse = run / "train_sparse" / "model";
  const auto model = models::load_model(io::HfFolder(sparse));
  CHECK(model->sites().size() == 6);
  CHECK(model->sites()[0]->layer()->weights().activation == kernels::Activation::relu);
  CHECK(contains(io::read_file(sparse / "README.md"), "transformers cannot load it"));
  CHECK(stages::train_sparse(experiment) == trained);

  stages::convert(experiment);
  const auto converted = moe::load_any(io::HfFolder(run / "convert" / "model"));
  const auto* q = moe::as_experts(*converted->sites()[0]);
  REQUIRE(q != nullptr);
  CHECK(q->experts() == 4);
  CHECK(q->router()->width() == 4);
  const auto* ffn = moe::as_experts(*converted->sites()[2]);
  REQUIRE(ffn != nullptr);
  CHECK(ffn->experts() == 8);
  CHECK(io::read_json_file(run / "convert" / "convert.json").at("sites").size() == 6);

  const Json swept = stages::sweep_tau(experiment);
  const Json& point = swept.at("points").back();
  CHECK(point.at("executed_share_per_site").contains("layers.1.attention.v"));
  CHECK(point.at("expert_use").at("layers.0.attention.q").size() == 4);
  // With every expert on the perceptrons cost what the projections did: only routers are added.
  CHECK(swept.at("all_experts").at("flops_share").get<double>() == Approx(1));
  CHECK(point.at("flops_share").get<double>() < 1);

  const auto facts = stages::inspect(run / "convert" / "model");
  CHECK(facts.at("sites")[1].at("kind") == "v");
  CHECK(facts.at("family") == "bert");
  const Json evaluated = stages::evaluate(experiment, {});
  CHECK(contains(evaluated.at("cost_table").get<std::string>(), "layers.0.attention.q experts"));

  const auto page = report::html_report({run});
  for (const char* part :
       {"Attention projections as perceptrons", "with perceptrons", "layers.1.attention.v"}) {
    INFO(part);
    CHECK(contains(page, part));
  }

  moe::export_dense(run / "convert" / "model", dir / "exported", /*original_order=*/true);
  CHECK(io::read_file(dir / "exported" / "model.safetensors") == io::read_file(sparse / "model.safetensors"));
}

TEST_CASE("attention: each site gets its own value for a budget, projections and FFNs alike") {
  const TempDir dir;
  const fs::path file = write_attention_experiment(dir.path());
  const auto experiment = [&](const std::vector<std::string>& more) {
    std::vector<std::string> overrides = {"sweep_tau.taus=[0.5]", "sweep_tau.time_batches=[]"};
    overrides.insert(overrides.end(), more.begin(), more.end());
    return config::load_experiment(file, overrides);
  };
  stages::train_sparse(experiment({}));
  stages::convert(experiment({}));
  const Json budget =
      stages::sweep_tau(experiment({"sweep_tau.budget=0.95", "sweep_tau.floors=[0,0.5]"})).at("calibrated");
  CHECK(budget.at("per_site_values").size() == 6);
  CHECK(budget.at("validation").at("flops_share").get<double>() <= 0.95);
  CHECK(budget.at("flops_share").get<double>() == Approx(0.95).margin(0.03));
  const auto saved = io::read_file(dir / "run" / "convert" / "model" / "d2dmoe.json");
  for (const char* site : {"layers.0.attention.q", "layers.1.ffn"}) {
    CAPTURE(site);
    const auto value = budget.at("per_site_values").at(site).get<double>();
    CHECK(value >= 0);
    CHECK(value <= 1);
    CHECK(contains(saved, site));
  }
}

TEST_CASE("child: train_sparse with attention", "[.child-attention]") {
  stages::train_sparse(config::load_experiment(child_config(), {}));
}

TEST_CASE("attention: a run that is killed at many moments ends at the bytes of the one that was not") {
  const TempDir dir;
  const fs::path file = write_attention_experiment(dir.path());
  REQUIRE(Child("[.child-attention]", file).wait() == 0);
  const fs::path run = dir / "run" / "train_sparse", inner = run / "attention";
  const std::string weights = io::read_file(run / "model/model.safetensors"),
                    perceptrons = io::read_file(inner / "perceptrons.safetensors");
  Json result = Json::parse(io::read_file(run / "result.json")).at("attention");
  CHECK_FALSE(fs::exists(inner / "checkpoints"));
  fs::remove_all(run);

  const auto checkpoint = [&](const fs::path& of, int step) {
    return [of, step] { return fs::exists(of / format("checkpoints/step-{:06d}.safetensors", step)); };
  };
  const std::vector<std::function<bool()>> moments = {
      [&] { return fs::exists(inner / ".lock"); },
      checkpoint(inner, 2),
      checkpoint(inner, 7),
      [&] { return fs::exists(inner / "perceptrons.safetensors"); },
      [&] { return fs::exists(inner / "result.json"); },
      checkpoint(run, 8),
  };
  int killed = 0;
  for (const auto& moment : moments) killed += Child("[.child-attention]", file).kill_when(moment);
  CHECK(killed >= 5);
  REQUIRE(Child("[.child-attention]", file).wait() == 0);
  CHECK(io::read_file(inner / "perceptrons.safetensors") == perceptrons);
  CHECK(io::read_file(run / "model/model.safetensors") == weights);
  Json again = Json::parse(io::read_file(run / "result.json")).at("attention");
  for (Json* one : {&result, &again}) one->erase("seconds");
  CHECK(again == result);
}

TEST_CASE("attention: what does not fit is refused") {
  const TempDir dir;
  const fs::path file = write_attention_experiment(dir.path());
  const auto refused = [&](auto stage, const std::vector<std::string>& overrides) {
    return message_of([&] { stage(config::load_experiment(file, overrides)); });
  };
  CHECK(
      contains(refused(stages::train_sparse, {"train_sparse.attention.projections=[\"x\"]"}), "projections"));
  CHECK(contains(refused(stages::train_sparse, {"train_sparse.attention.projections=[\"q\",\"q\"]"}),
                 "names \"q\" twice"));
  const std::string start = "convert.start=" + (dir / "model").string();
  CHECK(contains(refused(stages::convert, {start, "convert.kinds=[\"q\"]"}),
                 "'q' is a linear layer of this model's attention"));
  stages::train_sparse(config::load_experiment(file, {"train_sparse.train.epochs=0.1"}));
  CHECK(contains(refused(stages::convert, {"convert.attention.expert_size=5"}),
                 "attention.expert_size for layers.0.attention.q': got 5, which does not divide 16 neurons"));
  const std::string sparse = "train_sparse.start=" + (dir / "run" / "train_sparse" / "model").string();
  fs::remove_all(dir / "run2");
  CHECK(contains(refused(stages::train_sparse, {sparse, "output_dir=" + (dir / "run2").string()}),
                 "is a perceptron already in the start model"));
}

TEST_CASE("attention: the plan names the sites that will be there") {
  const TempDir dir;
  const auto experiment = config::load_experiment(write_attention_experiment(dir.path()), {});
  const Json sites =
      stages::plan(experiment, {"train_sparse", "convert"}).at("stages").at("convert").at("sites");
  REQUIRE(sites.size() == 6);
  CHECK(sites[0] == Json{{"site", "layers.0.attention.q"}, {"experts", 4}, {"expert_size", 4}});
  CHECK(sites[2] == Json{{"site", "layers.0.ffn"}, {"experts", 8}, {"expert_size", 8}});
}

TEST_CASE("attention: a language model's grouped keys and values, down to generation") {
  const TempDir dir;
  std::string text;
  for (int i = 0; i < 40; ++i) text += "Lily had " + std::to_string(i) + " red balls and a blue hat.\n---\n";
  io::write_file(dir / "text.txt", text);
  const Json config = {{"output_dir", (dir / "run").string()},
                       {"model", {{"path", "data/stories260k"}}},
                       {"data",
                        {{"task", "language_modeling"},
                         {"train", (dir / "text.txt").string()},
                         {"test", (dir / "text.txt").string()},
                         {"documents", {{"delimiter", "---"}}},
                         {"max_length", 32}}},
                       {"train_sparse",
                        {{"train", {{"epochs", 1}, {"batch_size", 8}}},
                         {"attention", {{"projections", {"k", "v"}}, {"epochs", 1}, {"batch_size", 8}}}}},
                       {"convert",
                        {{"kinds", {"k", "v"}},
                         {"attention", {{"expert_size", 4}, {"router_width", 4}}},
                         {"router", {{"epochs", 1}}}}},
                       {"sweep_tau", {{"points", 2}, {"time_batches", Json::array()}, {"bootstrap", 20}}}};
  std::ofstream(dir / "config.json") << config.dump();
  const auto experiment = config::load_experiment(dir / "config.json", {});
  const Json attention = stages::train_sparse(experiment).at("attention");
  CHECK(attention.at("metric") == "perplexity");
  CHECK(attention.at("after").at("value").get<double>() > attention.at("before").at("value").get<double>());
  CHECK(attention.at("projections").size() == 10);
  // 64 -> 32 costs as much as 21.3 neurons; 24 of them, a multiple of 8, cost an eighth more.
  CHECK(attention.at("projections")[0].at("width") == 24);
  CHECK(attention.at("flops_ratio").get<double>() == Approx(1.125));
  stages::convert(experiment);
  const Json swept = stages::sweep_tau(experiment);
  CHECK(swept.at("points").back().at("executed_share_per_site").size() == 10);
  stages::GenerateRequest request;
  request.model = (dir / "run" / "convert" / "model").string();
  request.prompts = {"Lily had"};
  request.max_new_tokens = 6;
  request.json = true;
  std::ostringstream out;
  CHECK(stages::generate(request, out).at("executed_share").get<double>() < 1);
}

TEST_CASE("attention: an image model's") {
  const TempDir dir;
  const auto experiment = config::load_experiment(
      write_tiny_image_experiment(dir.path()),
      {"train.epochs=3", "train_sparse.train.epochs=1", "train_sparse.attention.projections=[\"o\"]",
       "train_sparse.attention.epochs=2", "convert.attention.expert_size=4"});
  stages::train(experiment);
  const Json trained = stages::train_sparse(experiment);
  const auto sites = trained.at("attention").at("projections").size();
  CHECK(sites == 2);
  stages::convert(experiment);
  CHECK(stages::sweep_tau(experiment).at("points").back().at("executed_share_per_site").size() == 2 * sites);
}
