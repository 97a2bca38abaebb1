#include <cstdlib>
#include <fstream>
#include <functional>
#include <sstream>

#include "child.h"
#include "d2dmoe/core/error.h"
#include "d2dmoe/io/atomic_file.h"
#include "d2dmoe/models/model.h"
#include "d2dmoe/stages/stages.h"
#include "support/support.h"
#include "support/tiny.h"

using namespace d2dmoe;
using namespace d2dmoe::test;
namespace fs = std::filesystem;
using Json = nlohmann::ordered_json;

namespace {

std::string untimed_metrics(const fs::path& run) {
  std::istringstream lines(io::read_file(run / "metrics.jsonl"));
  std::string text;
  for (std::string line; std::getline(lines, line);) {
    auto event = Json::parse(line);
    event.erase("sentences_per_second");
    event.erase("tokens_per_second");
    text += event.dump() + "\n";
  }
  return text;
}

int64_t files_in(const fs::path& dir) {
  std::error_code missing;
  int64_t count = 0;
  for (fs::directory_iterator it(dir, missing), end; !missing && it != end; it.increment(missing)) ++count;
  return count;
}

}  // namespace

TEST_CASE("child: train_sparse of a config", "[.child-train-sparse]") {
  stages::train_sparse(config::load_experiment(child_config(), {}));
}

TEST_CASE("train: a run that is killed at many moments ends at the bytes of the one that was not") {
  const TempDir dir;
  const fs::path file = write_tiny_experiment(dir.path());
  Json json = Json::parse(io::read_file(file));
  json.erase("train");
  json["train_sparse"]["train"]["checkpoint_every"] = 1;
  json["train_sparse"]["train"]["log_every"] = 3;
  json["train_sparse"]["train"]["eval_every"] = 0.5;
  std::ofstream(file) << json.dump();

  REQUIRE(Child("[.child-train-sparse]", file).wait() == 0);
  const fs::path run = dir / "run" / "train_sparse";
  const std::string weights = io::read_file(run / "model/model.safetensors"), metrics = untimed_metrics(run);
  const Json result = Json::parse(io::read_file(run / "result.json"));
  fs::remove_all(run);

  const auto at_checkpoint = [&](int step) {
    return [&run, step] { return fs::exists(run / format("checkpoints/step-{:06d}.safetensors", step)); };
  };
  // The folder's changes while a file is written beside its final name make the moments hit the writing too.
  const auto while_writing = [&](int64_t changes) {
    return [&run, changes, last = int64_t{-1}, seen = int64_t{0}]() mutable {
      const int64_t now = files_in(run / "checkpoints");
      seen += now != last;
      last = now;
      return seen > changes;
    };
  };
  const std::vector<std::function<bool()>> moments = {
      [&] { return fs::exists(run / ".lock"); },
      [&] { return fs::exists(run / "metrics.jsonl"); },
      at_checkpoint(2),
      while_writing(3),
      [&] { return fs::exists(run / "best"); },
      while_writing(6),
      at_checkpoint(11),
      while_writing(5),
      [&] { return files_in(run) > 6 && at_checkpoint(20)(); },
  };
  int killed = 0;
  for (const auto& moment : moments) killed += Child("[.child-train-sparse]", file).kill_when(moment);
  CHECK(killed >= 6);
  REQUIRE(Child("[.child-train-sparse]", file).wait() == 0);
  CHECK(io::read_file(run / "model/model.safetensors") == weights);
  CHECK(untimed_metrics(run) == metrics);
  CHECK(Json::parse(io::read_file(run / "result.json")).at("best") == result.at("best"));
}

TEST_CASE("train: a finished stage is not run again, and a changed config is refused") {
  const TempDir dir;
  const fs::path file = write_tiny_experiment(dir.path());
  const auto experiment = config::load_experiment(file, {});
  const Json first = stages::train(experiment);
  CHECK(first.at("best").at("metric") == "accuracy");
  CHECK(first.at("steps") == 20);
  CHECK(stages::train(experiment) == first);
  CHECK_FALSE(fs::exists(dir / "run" / "train/checkpoints"));

  const auto changed = config::load_experiment(file, {"train.epochs=3"});
  CHECK(contains(message_of([&] { stages::train(changed); }), "train.epochs"));
}

TEST_CASE("train: train_sparse starts from train, and its folder is a ReLU model with the data's labels") {
  const TempDir dir;
  const fs::path file = write_tiny_experiment(dir.path());
  const auto experiment = config::load_experiment(
      file, {"train_sparse.distill.teacher=dense", "train.epochs=0.5", "train_sparse.train.epochs=1"});
  CHECK(contains(message_of([&] { stages::train_sparse(experiment); }), "d2dmoe train`"));
  stages::train(experiment);
  const Json result = stages::train_sparse(experiment);
  CHECK(result.at("start") == (dir / "run" / "train/model").string());
  CHECK(result.at("best").at("sites").size() == 2);
  CHECK(result.at("mean_zeros").get<double>() > 0.2);

  const fs::path model_dir = dir / "run" / "train_sparse/model";
  const auto model = models::load_model(io::HfFolder(model_dir));
  CHECK(model->config().at("hidden_act") == "relu");
  CHECK(model->label_names() ==
        std::vector<std::string>{"anger", "fear", "joy", "love", "sadness", "surprise"});
  CHECK(fs::exists(model_dir / "vocab.txt"));
  CHECK(contains(io::read_file(model_dir / "README.md"), "surprise"));
}

TEST_CASE("train: regression") {
  const TempDir dir;
  const fs::path file = write_tiny_experiment(dir.path());
  std::ofstream table(dir / "scores.tsv");
  table << "text\tscore\n";
  for (int i = 0; i < 120; ++i)
    table << (i % 2 ? "i feel happy and good" : "i feel so sad") << "\t" << (i % 2 ? 4.5 : 0.5) << "\n";
  table.close();
  const std::string path = (dir / "scores.tsv").string();
  const auto experiment =
      config::load_experiment(file, {"data.train=" + path, "data.validation=" + path, "data.format=tsv",
                                     "data.separator=", "data.label=score", "data.task=regression",
                                     "train_sparse.train.metric=pearson", "train.metric=pearson"});
  const Json result = stages::train(experiment);
  CHECK(result.at("best").at("value").get<double>() > 0.9);
  const auto model = models::load_model(io::HfFolder(dir / "run" / "train/model"));
  CHECK(model->num_labels() == 1);
  CHECK(model->config().at("problem_type") == "regression");
}

TEST_CASE("train: options that make no sense together are refused") {
  const TempDir dir;
  const fs::path file = write_tiny_experiment(dir.path());
  const auto message = [&](const std::vector<std::string>& overrides) {
    fs::remove_all(dir / "run");
    return message_of([&] {
      auto experiment = config::load_experiment(file, overrides);
      experiment.stages.erase("train");
      stages::train_sparse(experiment);
    });
  };
  CHECK(contains(message({"train_sparse.penalty.schedule=auto"}), "target_sparsity"));
  CHECK(contains(message({"train_sparse.penalty.schedule=auto", "train_sparse.penalty.target_sparsity=0.9",
                          "train_sparse.activation=keep"}),
                 "target_sparsity"));
  // Before perceptrons are trained, which takes epochs.
  CHECK(contains(message({"train_sparse.penalty.schedule=auto", "train_sparse.penalty.target_sparsity=0.9",
                          "train_sparse.activation=keep", R"(train_sparse.attention.projections=["o"])"}),
                 "target_sparsity"));
  CHECK_FALSE(fs::exists(dir / "run/train_sparse/attention"));
  CHECK(contains(message({"train_sparse.train.metric=pearson"}), "metric"));
  CHECK(contains(message({"train_sparse.distill.teacher=nowhere"}), "nowhere"));
}

TEST_CASE("train: a finished stage knows its teacher, and does not need it any more") {
  const TempDir dir;
  const fs::path file = write_tiny_experiment(dir.path());
  const std::vector<std::string> short_run = {"train.max_steps=1", "train_sparse.train.max_steps=1"};
  stages::train(config::load_experiment(file, short_run));
  const fs::path teacher = dir / "teacher";
  fs::copy(dir / "run/train/model", teacher);
  auto overrides = short_run;
  overrides.push_back("train_sparse.distill.teacher=" + teacher.string());
  const auto experiment = config::load_experiment(file, overrides);
  const Json first = stages::train_sparse(experiment);
  CHECK(stages::train_sparse(experiment) == first);

  change_last_byte(teacher / "model.safetensors");
  CHECK(contains(message_of([&] { stages::train_sparse(experiment); }), "teacher_weights_sha256"));
  fs::remove_all(teacher);
  CHECK(stages::train_sparse(experiment) == first);
}

TEST_CASE("train: a teacher to which the student's ids are other tokens is refused") {
  const TempDir dir;
  const fs::path file = write_tiny_experiment(dir.path());
  const std::vector<std::string> short_run = {"train.max_steps=1", "train_sparse.train.max_steps=1"};
  stages::train(config::load_experiment(file, short_run));
  const fs::path teacher = dir / "teacher";
  fs::copy(dir / "run/train/model", teacher);
  auto overrides = short_run;
  overrides.push_back("train_sparse.distill.teacher=" + teacher.string());
  CHECK_NOTHROW(stages::train_sparse(config::load_experiment(file, overrides)));

  fs::remove_all(dir / "run/train_sparse");
  // Every word behind the special ones takes the next one's place.
  std::vector<std::string> lines;
  std::istringstream text(io::read_file(teacher / "vocab.txt"));
  for (std::string line; std::getline(text, line);) lines.push_back(line);
  std::rotate(lines.begin() + 5, lines.begin() + 6, lines.end());
  std::string words;
  for (const auto& line : lines) words += line + "\n";
  io::write_file(teacher / "vocab.txt", words);
  CHECK(contains(message_of([&] { stages::train_sparse(config::load_experiment(file, overrides)); }),
                 "the teacher must have the student's tokenizer"));
}
