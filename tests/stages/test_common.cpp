#include <fstream>

#include "d2dmoe/core/error.h"
#include "d2dmoe/io/atomic_file.h"
#include "d2dmoe/io/json_file.h"
#include "d2dmoe/stages/common.h"
#include "support/support.h"
#include "support/tiny.h"

using namespace d2dmoe;
using namespace d2dmoe::test;
namespace fs = std::filesystem;

TEST_CASE("stages: auto starts from the nearest finished stage, else from model.path") {
  const TempDir dir;
  auto experiment = config::load_experiment(write_tiny_experiment(dir.path()), {});
  const std::vector<std::string> before = {"train_sparse", "train"};
  const auto message = message_of([&] { stages::start_folder(experiment, "auto", before); });
  CHECK(contains(message, "d2dmoe train-sparse"));

  fs::create_directories(dir / "run" / "train_sparse/model");
  std::ofstream(dir.path() / "run/train_sparse/model/config.json") << "{}";
  CHECK(stages::start_folder(experiment, "auto", before) == dir.path() / "run/train_sparse/model");
  CHECK(stages::start_folder(experiment, (dir / "model").string(), before) == dir / "model");

  // A finished stage whose model is gone: what the later stage says and what the stage itself says is the
  // same.
  std::ofstream(dir.path() / "run/train_sparse/result.json") << "{}";
  CHECK(stages::start_folder(experiment, "auto", before) == dir.path() / "run/train_sparse/model");
  fs::remove_all(dir.path() / "run/train_sparse/model");
  const auto gone = message_of([&] { stages::start_folder(experiment, "auto", before); });
  CHECK(contains(gone, "result.json says that this stage is done, but its model/ is missing. Hint: "));
  const io::RunFolder run(dir / "run" / "train_sparse", nlohmann::ordered_json::object());
  CHECK(message_of([&] { stages::finished_with_model(run); }) == gone);

  experiment.stages = {"convert"};
  CHECK(stages::start_folder(experiment, "auto", before) == dir / "model");
  CHECK(contains(message_of([&] { stages::start_folder(experiment, (dir / "none").string(), before); }),
                 "no such folder"));
  experiment.options.model.path = "";
  CHECK(contains(message_of([&] { stages::start_folder(experiment, "auto", before); }), "model.path"));
}

TEST_CASE("stages: the config of a stage holds what decides its result and nothing else") {
  const TempDir dir;
  auto experiment = config::load_experiment(write_tiny_experiment(dir.path()), {});
  const auto before = stages::stage_config(experiment, "train");
  experiment.options.run.threads = 7;
  experiment.options.train.log_every = 3;
  experiment.options.train_sparse.penalty.alpha = 9;
  experiment.options.data.test = "other";
  CHECK(stages::stage_config(experiment, "train") == before);
  experiment.options.train.epochs = 5;
  CHECK_FALSE(stages::stage_config(experiment, "train") == before);
}

TEST_CASE("stages: an expert size left open is recorded as the usual one") {
  const TempDir dir;
  auto experiment = config::load_experiment(write_tiny_experiment(dir.path()), {});
  experiment.stages = {"convert"};
  experiment.options.convert.split.expert_size = 24;
  const auto named = stages::stage_config(experiment, "convert");
  experiment.options.convert.split.expert_size = 0;
  CHECK(stages::stage_config(experiment, "convert") == named);
  experiment.options.convert.split.expert_size = 8;
  CHECK_FALSE(stages::stage_config(experiment, "convert") == named);
}

TEST_CASE("stages: a data file that was changed is another config") {
  const TempDir dir;
  const auto experiment = config::load_experiment(write_tiny_experiment(dir.path()), {});
  const auto before = stages::stage_config(experiment, "train");
  std::ofstream(dir / "test.txt", std::ios::app) << "i am glad;joy\n";
  CHECK(stages::stage_config(experiment, "train") == before);  // training does not read it
  std::ofstream(dir / "train.txt", std::ios::app) << "i am glad;joy\n";
  const auto changes = io::config_changes(before, stages::stage_config(experiment, "train"));
  REQUIRE(changes.size() == 1);
  CHECK(contains(changes[0], "data_sha256.train was "));
}

TEST_CASE("stages: a model is judged by its own classes in their order") {
  const TempDir dir;
  const auto file = write_tiny_experiment(dir.path());
  const auto refused = [&](const std::vector<std::string>& changes) {
    const auto experiment = config::load_experiment(file, changes);
    const auto inputs = stages::open_inputs(experiment, dir / "model", {"test"});
    const auto model = models::load_model(inputs.folder);
    return message_of([&] { stages::check_classes(dir / "model", *model, inputs.data); });
  };
  const std::string other_order =
      "data.label_names=[\"joy\", \"anger\", \"fear\", \"love\", \"sadness\", \"surprise\"]";
  CHECK(refused({other_order}).empty());  // nobody named the model's classes

  auto config = io::read_json_file(dir.path() / "model/config.json");
  const std::vector<std::string> names = {"anger", "fear", "joy", "love", "sadness", "surprise"};
  for (size_t i = 0; i < names.size(); ++i) config["id2label"][std::to_string(i)] = names[i];
  io::write_file(dir.path() / "model/config.json", config.dump());
  CHECK(refused({}).empty());
  const auto message = refused({other_order});
  CHECK(contains(message, "'data.label_names': class 0 is 'joy' there and 'anger' in"));
  CHECK(contains(
      refused(
          {"data.label_names=[\"anger\", \"fear\", \"joy\", \"love\", \"sadness\", \"surprise\", \"calm\"]"}),
      "has no class 'calm'"));

  for (size_t i = 0; i < names.size(); ++i) config["id2label"][std::to_string(i)] = "mood " + names[i];
  io::write_file(dir.path() / "model/config.json", config.dump());
  CHECK(contains(refused({}),
                 "has no class 'anger', which is one of the data's 6; its own 6 are mood anger, "));

  config.erase("id2label");
  config["num_labels"] = 2;
  io::write_file(dir.path() / "model/config.json", config.dump());
  const auto experiment = config::load_experiment(file, {});
  const auto inputs = stages::open_inputs(experiment, dir / "model", {"test"});
  const auto model = models::make_model(config, {});
  CHECK(contains(message_of([&] { stages::check_classes(dir / "model", *model, inputs.data); }),
                 "has no class 'anger'"));
}

TEST_CASE("stages: inputs are checked against the model") {
  const TempDir dir;
  auto experiment = config::load_experiment(write_tiny_experiment(dir.path()), {"data.max_length=500"});
  const auto inputs = stages::open_inputs(experiment, dir / "model", {"train", "validation"});
  CHECK(inputs.data.train.size() == 320);
  CHECK(inputs.data.label_names.size() == 6);
  for (int64_t i = 0; i < inputs.data.train.size(); ++i) REQUIRE(inputs.data.train.length(i) <= 64);

  std::ofstream vocab(dir.path() / "model/vocab.txt", std::ios::app);
  for (int i = 0; i < 100; ++i) vocab << "extra" << i << "\n";
  vocab.close();
  CHECK(
      contains(message_of([&] { stages::open_inputs(experiment, dir / "model", {"train"}); }), "vocab_size"));
}
