// A vision model through the stages, from a folder without weights.
#include <algorithm>
#include <fstream>
#include <sstream>

#include "child.h"
#include "d2dmoe/core/error.h"
#include "d2dmoe/io/atomic_file.h"
#include "d2dmoe/io/json_file.h"
#include "d2dmoe/models/model.h"
#include "d2dmoe/stages/evaluate.h"
#include "d2dmoe/stages/inspect.h"
#include "d2dmoe/stages/plan.h"
#include "d2dmoe/stages/stages.h"
#include "support/support.h"
#include "support/tiny_images.h"

using namespace d2dmoe;
using namespace d2dmoe::test;
namespace fs = std::filesystem;
using Json = nlohmann::ordered_json;

TEST_CASE("child: train of a config of images", "[.child-train-images]") {
  stages::train(config::load_experiment(child_config(), {}));
}

TEST_CASE("images: a ViT from nothing goes through all stages") {
  const TempDir dir;
  const auto experiment = config::load_experiment(
      write_tiny_image_experiment(dir.path()),
      {"train.epochs=30", "train_sparse.train.epochs=20", "train.optimizer.layer_decay=0.9"});
  const Json plan = stages::plan(experiment, {"train", "train_sparse", "convert", "sweep_tau"});
  CHECK(plan.at("unit") == "images");
  CHECK(plan.at("tokens_per_example") == 17);
  CHECK(plan.at("stages").at("convert").at("sites").size() == 2);

  const Json dense = stages::train(experiment);
  CHECK(dense.at("unit") == "images");
  CHECK(dense.at("best").at("value").get<double>() > 0.9);
  const fs::path model_dir = dir / "run" / "train/model";
  CHECK(io::read_file(model_dir / "preprocessor_config.json") ==
        io::read_file(dir.path() / "model/preprocessor_config.json"));
  const auto model = models::load_model(io::HfFolder(model_dir));
  double parameters = 0;
  for (const auto& parameter : model->parameters()) parameters += static_cast<double>(parameter.numel());
  CHECK(plan.at("parameters") == parameters);
  CHECK(model->label_names() == std::vector<std::string>{"left", "right", "top"});
  const std::string log = io::read_file(dir.path() / "run/train/log.txt");
  CHECK(contains(log, "has no weights: training starts from fresh ones, of the seed 3"));
  CHECK(contains(log, "72 training and 18 validation images, 3 classes"));

  const Json sparse = stages::train_sparse(experiment);
  CHECK(sparse.at("mean_zeros").get<double>() > 0.2);
  CHECK_FALSE(contains(io::read_file(dir.path() / "run/train_sparse/log.txt"), "fresh"));
  stages::convert(experiment);
  const Json sweep = stages::sweep_tau(experiment);
  CHECK(sweep.at("points").size() == 3);
  CHECK(sweep.at("dense").at("tokens") == 18 * 17);
  CHECK(sweep.at("all_experts").at("score").get<double>() > 0.8);
  for (const auto& point : sweep.at("points")) CHECK(point.at("executed_share").get<double>() <= 1);

  const Json quality = stages::evaluate(experiment, {});
  CHECK(quality.at("model") == (dir / "run" / "convert/model").string());
  CHECK(quality.at("unit") == "images");
  CHECK(quality.at("metrics").contains("top5_accuracy"));
  CHECK(contains(stages::evaluation_text(quality), "test, 18 images"));
  // The plan's FLOPs are what the ledger counts.
  const auto& cost = quality.at("cost");
  CHECK(plan.at("flops_per_example").get<double>() ==
        Approx(17 * cost.at("dense_flops_per_token").get<double>()));

  const Json facts = stages::inspect(dir / "run" / "convert/model");
  CHECK(facts.at("image").at("patch_height") == 4);
  CHECK(contains(stages::inspect_text(facts), "16x16 pixels of 3 channels, patches of 4x4"));
}

TEST_CASE("images: a DeiT with two heads is trained, converted and judged") {
  const TempDir dir;
  const fs::path file = write_tiny_image_experiment(dir.path());
  auto deit = tiny_vit_config();
  deit["model_type"] = "deit";
  deit["architectures"] = {"DeiTForImageClassificationWithTeacher"};
  io::write_file(dir.path() / "model/config.json", deit.dump());
  auto experiment = config::load_experiment(
      file, {"train.epochs=2", "convert.router.epochs=1", "sweep_tau.points=1", "sweep_tau.time_batches=[]"});
  experiment.stages.erase("train_sparse");
  stages::train(experiment);
  stages::convert(experiment);
  const Json sweep = stages::sweep_tau(experiment);
  CHECK(sweep.at("dense").at("tokens") == 18 * 18);  // 16 patches, class and distillation token
  const auto tensors = io::HfFolder(dir / "run" / "convert/model").tensor_names();
  CHECK(std::count(tensors.begin(), tensors.end(), "distillation_classifier.weight") == 1);
}

TEST_CASE("images: threads and a kill change nothing in what is trained") {
  const TempDir dir;
  const fs::path file = write_tiny_image_experiment(dir.path());
  const auto trained = [&](const std::string& name, const std::string& threads) {
    const auto run = (dir / name).string();
    stages::train(config::load_experiment(file, {"output_dir=" + run, "data.images.threads=" + threads,
                                                 "train.epochs=2", "train.accumulate=2"}));
    return io::read_file(dir.path() / name / "train/model/model.safetensors");
  };
  CHECK((trained("one", "1") == trained("three", "3")));

  Json config = io::read_json_file(file);
  config["train"]["epochs"] = 3;
  config["train"]["checkpoint_every"] = 1;
  io::write_file(file, config.dump());
  const std::string tag = "[.child-train-images]";
  REQUIRE(Child(tag, file).wait() == 0);
  const fs::path run = dir / "run" / "train";
  const auto want = io::read_file(run / "model/model.safetensors");
  fs::remove_all(run);
  // In the middle of an epoch of 6 steps: the loader goes on behind its batches.
  const auto there = [&](int step) {
    return [&run, step] { return fs::exists(run / format("checkpoints/step-{:06d}.safetensors", step)); };
  };
  int killed = 0;
  for (const int step : {3, 8}) killed += Child(tag, file).kill_when(there(step));
  CHECK(killed >= 1);
  REQUIRE(Child(tag, file).wait() == 0);
  CHECK((io::read_file(run / "model/model.safetensors") == want));
}

TEST_CASE("images: only training starts from a folder without weights") {
  const TempDir dir;
  const fs::path file = write_tiny_image_experiment(dir.path());
  Json config = io::read_json_file(file);
  config.erase("train");
  config.erase("train_sparse");
  io::write_file(file, config.dump());
  const auto experiment = config::load_experiment(file, {});
  const std::string hint = "has no weights: neither model.safetensors nor ";
  CHECK(contains(message_of([&] { stages::convert(experiment); }), hint));
  CHECK(contains(message_of([&] { stages::plan(experiment, {"convert"}); }), hint));
  stages::EvalRequest request;
  request.model = (dir / "model").string();
  const auto message = message_of([&] { stages::evaluate(experiment, request); });
  CHECK(contains(message, "Only `d2dmoe train` and `train-sparse` start from config.json alone"));
}

TEST_CASE("images: a dense baseline of other images is refused") {
  const TempDir dir;
  const fs::path file = write_tiny_image_experiment(dir.path());
  const auto short_run = [&](std::vector<std::string> more) {
    more.insert(more.end(), {"train.epochs=0.2", "convert.router.epochs=0.5"});
    auto experiment = config::load_experiment(file, more);
    experiment.stages.erase("train_sparse");
    return experiment;
  };
  stages::train(short_run({}));
  stages::convert(short_run({}));
  auto other = tiny_vit_config();
  other["patch_size"] = 8;
  fs::create_directories(dir / "other");
  std::ofstream(dir / "other/config.json") << other.dump();
  const std::string output = "output_dir=" + (dir / "run2").string();
  stages::train(short_run({"model.path=" + (dir / "other").string(), output}));
  const auto message = message_of([&] {
    stages::sweep_tau(short_run({"sweep_tau.dense=" + (dir.path() / "run2/train/model").string()}));
  });
  CHECK(contains(message, "takes images or patches of another size"));
}
