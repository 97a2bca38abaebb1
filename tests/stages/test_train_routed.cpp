// Fine-tuning of a converted model with the experts that its routers choose.
#include <torch/types.h>

#include <fstream>
#include <set>

#include "child.h"
#include "d2dmoe/core/error.h"
#include "d2dmoe/eval/setting.h"
#include "d2dmoe/io/atomic_file.h"
#include "d2dmoe/io/json_file.h"
#include "d2dmoe/moe/converted_folder.h"
#include "d2dmoe/moe/expert_feed_forward.h"
#include "d2dmoe/stages/common.h"
#include "d2dmoe/stages/companions.h"
#include "d2dmoe/stages/routed_training.h"
#include "d2dmoe/stages/stages.h"
#include "support/support.h"
#include "support/tiny.h"

using namespace d2dmoe;
using namespace d2dmoe::test;
namespace fs = std::filesystem;
using Json = nlohmann::ordered_json;

namespace {

/// The tiny experiment whose random model is converted and then trained with routing on.
fs::path write_routed(const fs::path& dir, const std::string& start = "auto") {
  const fs::path file = write_tiny_experiment(dir);
  Json json = io::read_json_file(file);
  json.erase("train");
  json.erase("train_sparse");
  json["data"]["label_names"] = {"anger", "fear", "joy", "love", "sadness", "surprise"};
  json["convert"]["split"]["experts"] = 4;  // of 16 neurons: wide enough for the expert kernels in training
  json["train_routed"]["start"] = start;
  json["train_routed"]["train"] = {
      {"epochs", 2}, {"batch_size", 32}, {"optimizer", {{"lr", 1e-3}}}, {"checkpoint_every", 1}};
  std::ofstream(file) << json.dump();
  return file;
}

/// A model folder that `convert` made of the tiny random model, once for all cases.
const fs::path& converted() {
  static const TempDir dir;
  static const fs::path folder = [] {
    stages::convert(config::load_experiment(write_routed(dir.path()), {}));
    return dir / "run" / "convert" / "model";
  }();
  return folder;
}

std::shared_ptr<models::Model> load(const fs::path& folder) {
  return moe::load_any(io::HfFolder(folder));
}

/// The model that train_routed left in this run.
std::shared_ptr<models::Model> trained(const TempDir& dir) {
  return load(dir / "run" / "train_routed" / "model");
}

}  // namespace

TEST_CASE("child: train_routed of a config", "[.child-train-routed]") {
  stages::train_routed(config::load_experiment(child_config(), {}));
}

TEST_CASE("train_routed: the weights learn, routers and experts stay what they were") {
  const TempDir dir;
  const fs::path file = write_routed(dir.path()), run = dir / "run";
  const auto experiment = config::load_experiment(file, {"train_routed.tau_range=[0.1,0.5]"});
  CHECK(contains(message_of([&] { stages::train_routed(experiment); }), "d2dmoe convert`"));
  stages::convert(experiment);
  const Json result = stages::train_routed(experiment);
  CHECK(result.at("start") == (run / "convert/model").string());
  const Json& best = result.at("best");
  CHECK(best.at("executed_share").get<double>() > 0);
  CHECK(best.at("executed_share").get<double>() < 1);
  CHECK(best.at("flops_share").get<double>() < 1.1);

  CHECK(io::read_file(run / "train_routed/model/routers.safetensors") ==
        io::read_file(run / "convert/model/routers.safetensors"));
  const auto before = load(run / "convert/model"), after = trained(dir);
  const auto old_sites = eval::converted_sites(*before), sites = eval::converted_sites(*after);
  REQUIRE(sites.size() == 2);
  for (size_t i = 0; i < sites.size(); ++i) {
    const auto& layer = *sites[i].layer;
    CHECK_FALSE(torch::equal(layer.weights().w1, old_sites[i].layer->weights().w1));
    CHECK(torch::equal(layer.origin().permutation, old_sites[i].layer->origin().permutation));
    CHECK((layer.selection() == moe::Selection{"dynamic_k", 0.3, 0}));  // the middle
  }
  const Json record = io::read_json_file(run / "train_routed/model/d2dmoe.json");
  CHECK(record.at("parent").at("path") == (run / "convert/model").string());
  CHECK(record.at("parent").at("stage") == "train_routed");
  CHECK(contains(io::read_file(run / "train_routed/model/README.md"), "Fine-tuned"));

  const Json curve = stages::sweep_tau(experiment);
  CHECK(curve.at("converted") == (run / "train_routed/model").string());
  // Trained to be routed, a model is no dense baseline, nor a teacher.
  CHECK(curve.at("dense").at("folder") == (run / "convert/model").string());
  CHECK(stages::teacher_folder(experiment, "train_routed") == run / "convert/model");
  auto with_train = experiment;
  with_train.stages.insert("train");
  CHECK(contains(message_of([&] { stages::teacher_folder(with_train, "train_routed"); }), "d2dmoe train`"));
}

TEST_CASE("train_routed: the mean norm that a floor is relative to is the trained model's") {
  const TempDir dir;
  stages::train_routed(config::load_experiment(write_routed(dir.path(), converted()), {}));
  const auto before = load(converted()), after = trained(dir);
  for (size_t i = 0; i < 2; ++i) {
    const auto* old_layer = eval::converted_sites(*before)[i].layer;
    const auto* layer = eval::converted_sites(*after)[i].layer;
    CHECK(layer->mean_norm() > 0);
    CHECK(layer->mean_norm() != old_layer->mean_norm());
  }
}

TEST_CASE("train_routed: experts that no step ran keep their bytes") {
  const TempDir dir;
  const fs::path file = write_routed(dir.path(), converted());
  // Plain SGD: a weight without a gradient stays. One expert of 4 per token, one step of one sentence.
  const auto experiment = config::load_experiment(
      file,
      {"train_routed.rule=top_k", "train_routed.tau_range=[1,1]", "train_routed.validation_tau=4",
       "train_routed.distill.teacher=", "train_routed.train.max_steps=1", "train_routed.train.batch_size=1",
       "train_routed.train.keep_best=false", "data.max_length=3", "train_routed.train.optimizer.name=sgd",
       "train_routed.train.optimizer.weight_decay=0", "train_routed.train.optimizer.warmup=0",
       "train_routed.train.optimizer.momentum=0", "train_routed.train.optimizer.schedule=constant"});
  stages::train_routed(experiment);
  const auto before = load(converted()), after = trained(dir);
  const auto old_sites = eval::converted_sites(*before), sites = eval::converted_sites(*after);
  int64_t changed = 0, kept = 0;
  for (size_t i = 0; i < sites.size(); ++i) {
    const auto w = sites[i].layer->weights().w1, old = old_sites[i].layer->weights().w1;
    const int64_t size = sites[i].layer->expert_size();
    for (int64_t e = 0; e < sites[i].layer->experts(); ++e) {
      const bool same = torch::equal(w.narrow(0, e * size, size), old.narrow(0, e * size, size));
      ++(same ? kept : changed);
    }
  }
  // 3 tokens choose at most 3 of the 4 experts of each of the two sites.
  CHECK(changed >= 1);
  CHECK(kept >= 2);
}

TEST_CASE("train_routed: a run that is killed ends at the bytes of the one that was not") {
  const TempDir dir;
  const fs::path file = write_routed(dir.path(), converted());
  Json json = io::read_json_file(file);
  json["train_routed"]["tau_range"] = {0.8, 1};  // few enough experts for the expert kernels
  std::ofstream(file) << json.dump();
  REQUIRE(Child("[.child-train-routed]", file).wait() == 0);
  const fs::path run = dir / "run" / "train_routed";
  const std::string weights = io::read_file(run / "model/model.safetensors"),
                    record = io::read_file(run / "model/d2dmoe.json");
  fs::remove_all(run);
  int killed = 0;
  for (const int step : {1, 4, 7}) {
    killed += Child("[.child-train-routed]", file).kill_when([&] {
      return fs::exists(run / format("checkpoints/step-{:06d}.safetensors", step));
    });
  }
  CHECK(killed >= 2);
  REQUIRE(Child("[.child-train-routed]", file).wait() == 0);
  CHECK(io::read_file(run / "model/model.safetensors") == weights);
  CHECK(io::read_file(run / "model/d2dmoe.json") == record);
}

TEST_CASE("train_routed: steps draw their value from the whole range, by seed and step") {
  config::RoutedTrainOptions options;
  options.tau_range = {0.1, 0.5};
  double least = 1, most = 0;
  for (int64_t step = 0; step < 200; ++step) {
    const auto selection = stages::drawn_selection(options, 7, step);
    CHECK(selection.rule == "dynamic_k");
    CHECK((selection == stages::drawn_selection(options, 7, step)));
    least = std::min(least, selection.value), most = std::max(most, selection.value);
  }
  // 200 uniform draws miss a twentieth of the range at either end with probability 2 * 0.95^200 < 1e-4.
  CHECK(least >= 0.1);
  CHECK(least < 0.12);
  CHECK(most <= 0.5);
  CHECK(most > 0.48);
  CHECK(stages::drawn_selection(options, 7, 0).value != stages::drawn_selection(options, 8, 0).value);

  options.rule = "top_k";
  options.tau_range = {2, 4};
  std::set<double> drawn;
  for (int64_t step = 0; step < 100; ++step) drawn.insert(stages::drawn_selection(options, 7, step).value);
  CHECK(drawn == std::set<double>{2, 3, 4});
}

TEST_CASE("train_routed: without a range every site trains and stays at its own setting") {
  const TempDir dir;
  const fs::path start = dir / "calibrated";
  fs::copy(converted(), start);
  std::map<std::string, moe::Selection> own;
  const auto model = load(start);
  double value = 0.2;
  for (const auto& site : eval::converted_sites(*model)) own[site.id.name] = {"dynamic_k", value += 0.1, 0};
  moe::save_selections(start, own);
  stages::train_routed(
      config::load_experiment(write_routed(dir.path(), start), {"train_routed.tau_range=[]"}));
  CHECK((eval::current_setting(*trained(dir)) == own));
}

TEST_CASE("train_routed: what does not fit is refused") {
  const TempDir dir;
  const fs::path file = write_routed(dir.path(), converted());
  const auto message = [&](const std::vector<std::string>& overrides) {
    fs::remove_all(dir / "run" / "train_routed");
    return message_of([&] { stages::train_routed(config::load_experiment(file, overrides)); });
  };
  const std::string many = message({"train_routed.rule=top_k", "train_routed.tau_range=[1,5]"});
  CHECK(contains(many, "train_routed.tau_range"));
  CHECK(contains(many, "layers.0.ffn"));
  CHECK(contains(
      message({"train_routed.rule=top_k", "train_routed.tau_range=[1,2]", "train_routed.validation_tau=5"}),
      "train_routed.validation_tau"));
  CHECK(contains(message({"train_routed.start=" + (dir / "model").string()}), "has no d2dmoe.json"));
  CHECK(contains(message({"train_routed.distill.teacher=nowhere"}), "train_routed.distill.teacher"));
}

TEST_CASE("train_routed: another teacher or calibration is another run") {
  const TempDir dir;
  const fs::path start = dir / "start", teacher = dir / "teacher";
  fs::copy(converted(), start);
  fs::copy(converted(), teacher);
  const fs::path file = write_routed(dir.path(), start);
  const std::vector<std::string> overrides = {"train_routed.tau_range=[]",
                                              "train_routed.distill.teacher=" + teacher.string()};
  const auto experiment = config::load_experiment(file, overrides);
  const auto config = [&] { return stages::stage_config(experiment, "train_routed"); };
  const Json before = config();
  moe::save_selections(start, {{"layers.0.ffn", {"dynamic_k", 0.7, 0}}});
  const Json calibrated = config();
  CHECK(calibrated != before);
  fs::copy_file(dir / "model/model.safetensors", teacher / "model.safetensors",
                fs::copy_options::overwrite_existing);
  CHECK(config() != calibrated);
}
