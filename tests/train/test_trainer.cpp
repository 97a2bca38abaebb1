#include <chrono>
#include <sstream>
#include <thread>

#include "d2dmoe/core/error.h"
#include "d2dmoe/core/random.h"
#include "d2dmoe/core/signals.h"
#include "d2dmoe/data/text_source.h"
#include "d2dmoe/eval/evaluate.h"
#include "d2dmoe/io/atomic_file.h"
#include "d2dmoe/io/json_file.h"
#include "d2dmoe/io/safetensors.h"
#include "d2dmoe/kernels/activation.h"
#include "d2dmoe/sparsity/activation_replacement.h"
#include "d2dmoe/train/trainer.h"
#include "support/support.h"

using namespace d2dmoe;
using namespace d2dmoe::test;
namespace fs = std::filesystem;

namespace {

std::shared_ptr<models::Model> tiny_bert(double dropout = 0) {
  models::LoadOptions options;
  options.dropout = dropout;
  return models::load_model(io::HfFolder(golden("train/tiny_bert")), options);
}

/// The eight sequences of the golden curves, as training and validation data.
data::Splits golden_data() {
  const auto file = io::SafetensorsFile::open(golden("train/train.safetensors"));
  const auto ids = file->tensor("curve.ids"), lengths = file->tensor("curve.lengths"),
             labels = file->tensor("curve.labels");
  data::Splits data;
  data.label_names = {"a", "b", "c"};
  std::vector<data::Example> examples;
  for (int64_t i = 0; i < ids.size(0); ++i) {
    data::Example example;
    for (int64_t t = 0; t < lengths[i].item<int64_t>(); ++t) example.ids.push_back(ids[i][t].item<int64_t>());
    example.type_ids.assign(example.ids.size(), 0);
    example.label = labels[i].item<double>();
    examples.push_back(example);
  }
  data.train = data.validation = data::text_dataset(std::move(examples));
  return data;
}

/// Sequences whose class is told by their tokens: something that a tiny model learns within seconds.
data::Splits learnable_data(int64_t count) {
  Rng rng(5);
  data::Splits data;
  data.label_names = {"a", "b", "c"};
  std::vector<data::Example> training, validation;
  for (int64_t i = 0; i < count; ++i) {
    data::Example example;
    const uint64_t label = rng.below(3), length = 3 + rng.below(9);
    for (uint64_t t = 0; t < length; ++t) {
      example.ids.push_back(
          static_cast<int64_t>(t % 3 == 0 ? 10 + 15 * label + rng.below(15) : 5 + rng.below(55)));
    }
    example.type_ids.assign(example.ids.size(), 0);
    example.label = static_cast<double>(label);
    (i % 4 == 0 ? validation : training).push_back(example);
  }
  data.train = data::text_dataset(std::move(training));
  data.validation = data::text_dataset(std::move(validation));
  return data;
}

config::TrainOptions quick_options() {
  config::TrainOptions options;
  options.batch_size = 16;
  options.epochs = 2;
  options.log_every = 5;
  options.checkpoint_every = 7;
  options.optimizer.lr = 3e-3;
  return options;
}

std::vector<nlohmann::ordered_json> events(const fs::path& run, const std::string& kind) {
  std::vector<nlohmann::ordered_json> found;
  std::istringstream lines(io::read_file(run / "metrics.jsonl"));
  for (std::string line; std::getline(lines, line);) {
    auto event = nlohmann::ordered_json::parse(line);
    if (event.at("event") == kind) found.push_back(std::move(event));
  }
  return found;
}

/// metrics.jsonl without what depends on the clock.
std::string untimed_metrics(const fs::path& run) {
  std::istringstream lines(io::read_file(run / "metrics.jsonl"));
  std::string text;
  for (std::string line; std::getline(lines, line);) {
    auto event = nlohmann::ordered_json::parse(line);
    event.erase("sentences_per_second");
    event.erase("tokens_per_second");
    text += event.dump() + "\n";
  }
  return text;
}

struct Trained {
  std::shared_ptr<models::Model> model;
  nlohmann::ordered_json result;
};

Trained run_training(const fs::path& dir, const data::Splits& data, const config::TrainOptions& options,
                     const config::PenaltyOptions* penalty = nullptr, double dropout = 0,
                     const config::DistillOptions* distill = nullptr) {
  at::set_num_threads(1);  // threads only get in each other's way on so small a model
  io::RunFolder run(dir, nlohmann::ordered_json::object());
  const auto model = tiny_bert(dropout);
  if (penalty) sparsity::replace_activation(*model, kernels::Activation::relu);
  train::TrainJob job{.model = model,
                      .teacher = nullptr,
                      .data = data,
                      .options = options,
                      .penalty = penalty,
                      .distill = distill,
                      .run = run};
  if (distill) job.teacher = tiny_bert();
  job.seed = 3;
  job.reference_metric = [] { return 0.9; };
  auto result = train::train(job);
  return {model, result};
}

void check_same_weights(models::Model& a, models::Model& b) {
  const auto theirs = b.named_parameters();
  for (const auto& item : a.named_parameters()) {
    INFO(item.key());
    CHECK(torch::equal(item.value(), theirs[item.key()]));
  }
}

void check_curve(const std::string& name, const config::PenaltyOptions* penalty,
                 const config::DistillOptions* distill = nullptr) {
  const auto points = io::read_json_file(golden("train/train.json")).at("curves").at(name);
  config::TrainOptions options;
  options.batch_size = 8;
  options.epochs = 10;
  options.log_every = 1;
  options.optimizer.lr = 2e-3;
  options.optimizer.warmup = 0.2;
  const TempDir dir;
  run_training(dir.path(), golden_data(), options, penalty, 0, distill);
  const auto logged = events(dir.path(), "train");
  REQUIRE(logged.size() == points.size());
  for (size_t i = 0; i < points.size(); ++i) {
    INFO(name << " step " << i);
    CHECK(logged[i].at("loss").get<double>() == Approx(points[i].at("loss").get<double>()).margin(1e-4));
    CHECK(logged[i].at("task_loss").get<double>() ==
          Approx(points[i].at("task_loss").get<double>()).margin(1e-4));
    CHECK(logged[i].at("grad_norm").get<double>() ==
          Approx(points[i].at("grad_norm").get<double>()).margin(1e-3));
    if (penalty) {
      CHECK(logged[i].at("penalty").get<double>() ==
            Approx(points[i].at("penalty").get<double>()).margin(2e-3));
      CHECK(logged[i].at("sites").size() == 2);
    }
    for (const char* key : {"distillation", "features"}) {
      CHECK(logged[i].contains(key) == (distill != nullptr));
      if (distill)
        CHECK(logged[i].at(key).get<double>() == Approx(points[i].at(key).get<double>()).margin(1e-4));
    }
  }
}

config::PenaltyOptions square_hoyer(double alpha) {
  config::PenaltyOptions penalty;
  penalty.alpha = alpha;
  penalty.schedule = "constant";
  return penalty;
}

}  // namespace

TEST_CASE("trainer: ten steps equal PyTorch's", "[golden]") {
  check_curve("gelu", nullptr);
}

TEST_CASE("trainer: ten steps with ReLU and square Hoyer equal PyTorch's", "[golden]") {
  const auto penalty = square_hoyer(0.05);
  check_curve("relu_square_hoyer", &penalty);
}

TEST_CASE("trainer: ten steps with a teacher of classes and hidden states equal PyTorch's", "[golden]") {
  const auto penalty = square_hoyer(0.05);
  config::DistillOptions distill;
  distill.lambda = 0.7;
  distill.temperature = 2;
  distill.features = 0.4;
  check_curve("relu_distilled", &penalty, &distill);
}

TEST_CASE("trainer: accumulated batches equal one large batch") {
  const auto data = learnable_data(150);
  auto options = quick_options();
  options.epochs = 1;
  options.keep_best = false;
  // Not Adam: it turns a gradient that is zero but for rounding (a key's bias) into whole steps.
  options.optimizer.name = "sgd";
  options.optimizer.lr = 0.1;
  const auto penalty = square_hoyer(0.01);
  config::DistillOptions distill;
  distill.features = 0.5;
  const TempDir whole, parts;
  options.batch_size = 32;
  const auto a = run_training(whole.path(), data, options, &penalty, 0, &distill);
  options.batch_size = 8;
  options.accumulate = 4;
  const auto b = run_training(parts.path(), data, options, &penalty, 0, &distill);
  const auto theirs = b.model->named_parameters();
  for (const auto& item : a.model->named_parameters()) {
    INFO(item.key());
    CHECK(difference(item.value(), theirs[item.key()], 2e-5) == "");
  }
}

TEST_CASE("trainer: a stopped run goes on to the same bytes, dropout and metrics included") {
  const bool by_zeros = GENERATE(true, false);
  const auto data = learnable_data(200);
  auto options = quick_options();
  options.eval_every = 0.5;
  config::PenaltyOptions penalty;
  penalty.schedule = "auto";
  (by_zeros ? penalty.target_sparsity : penalty.max_metric_drop) = by_zeros ? 0.9 : 20;
  const TempDir whole, parts;
  const auto a = run_training(whole.path(), data, options, &penalty, 0.1);
  int stops = 0;
  for (bool done = false; !done;) {
    // A stop at some moment or other, later each time, so that every part gets further than the one before.
    std::thread stopper([&] {
      std::this_thread::sleep_for(std::chrono::milliseconds(10 * (stops + 1)));
      request_stop();
    });
    try {
      const auto b = run_training(parts.path(), data, options, &penalty, 0.1);
      done = true;
      CHECK(a.result.at("best") == b.result.at("best"));
      check_same_weights(*a.model, *b.model);
    } catch (const Interrupted& e) {
      CHECK(contains(e.what(), "stopped"));  // at a step, or during a validation
      ++stops;
    }
    stopper.join();
    request_stop(false);
  }
  CHECK(stops > 0);
  CHECK(untimed_metrics(whole.path()) == untimed_metrics(parts.path()));
}

TEST_CASE("trainer: a stop during a validation loses no step, and the validation is done again") {
  const auto data = learnable_data(12000);  // 3000 to validate on: that takes a while
  auto options = quick_options();
  options.max_steps = 6;
  options.log_every = 1;
  options.checkpoint_every = 0;
  options.eval_every = 3.0 * 16 / 9000;  // after step 3
  const TempDir whole, parts;
  const auto a = run_training(whole.path(), data, options);
  std::thread stopper([&] {
    const auto third_step_is_logged = [&] {
      return fs::exists(parts / "metrics.jsonl") &&
             contains(io::read_file(parts / "metrics.jsonl"), "\"step\":3");
    };
    while (!third_step_is_logged()) std::this_thread::sleep_for(std::chrono::milliseconds(2));
    request_stop();
  });
  const auto message = message_of([&] { run_training(parts.path(), data, options); });
  stopper.join();
  request_stop(false);
  CHECK(contains(message, "stopped at step 3 of 6; the state is saved"));
  CHECK(events(parts.path(), "eval").empty());
  const auto b = run_training(parts.path(), data, options);
  CHECK(a.result.at("best") == b.result.at("best"));
  check_same_weights(*a.model, *b.model);
  CHECK(untimed_metrics(whole.path()) == untimed_metrics(parts.path()));
}

TEST_CASE("trainer: a run whose checkpoints are older, or broken, ends at the same bytes") {
  const auto data = learnable_data(200);
  auto options = quick_options();
  options.keep_checkpoints = 10;
  const TempDir dir;
  const auto whole = run_training(dir.path(), data, options, nullptr, 0.1);
  const std::string metrics = untimed_metrics(dir.path());
  const auto checkpoints = [&] {
    std::vector<fs::path> files;
    for (const auto& entry : fs::directory_iterator(dir / "checkpoints")) files.push_back(entry.path());
    std::sort(files.begin(), files.end());
    return files;
  };
  REQUIRE(checkpoints().size() >= 3);

  SECTION("the newest is cut") {
    fs::resize_file(checkpoints().back(), fs::file_size(checkpoints().back()) / 2);
  }
  SECTION("only the first is left") {
    const auto files = checkpoints();
    for (size_t i = 1; i < files.size(); ++i) fs::remove(files[i]);
  }
  SECTION("none is left") {
    fs::remove_all(dir / "checkpoints");
  }
  const auto again = run_training(dir.path(), data, options, nullptr, 0.1);
  check_same_weights(*whole.model, *again.model);
  CHECK(whole.result.at("best") == again.result.at("best"));
  CHECK(untimed_metrics(dir.path()) == metrics);
}

TEST_CASE("trainer: each part of a checkpoint decides how the run goes on") {
  // The counterpart of the tests above: were one of these parts not restored, they would see it.
  const auto data = learnable_data(120);
  auto options = quick_options();
  options.epochs = 1;
  options.keep_best = false;
  options.checkpoint_every = 3;
  options.keep_checkpoints = 10;
  const TempDir dir;
  const auto whole = run_training(dir.path(), data, options, nullptr, 0.1);

  const std::string part =
      GENERATE("nothing", "generator.cpu", "optimizer.exp_avg.", "optimizer.step", "model.");
  INFO(part);
  {
    io::RunFolder run(dir.path(), nlohmann::ordered_json::object());
    for (const auto& entry : fs::directory_iterator(dir / "checkpoints")) {
      if (entry.path().filename() != "step-000003.safetensors") fs::remove(entry.path());
    }
    io::Checkpoint checkpoint;
    REQUIRE(io::load_checkpoint(run, checkpoint));
    torch::manual_seed(99);
    for (auto& [name, tensor] : checkpoint.tensors) {
      tensor = tensor.clone();
      if (!name.starts_with(part)) continue;
      tensor = name == "generator.cpu" ? at::globalContext().defaultGenerator(torch::kCPU).get_state()
                                       : tensor + 1;
    }
    io::save_checkpoint(run, checkpoint, 1);
  }
  const auto again = run_training(dir.path(), data, options, nullptr, 0.1);
  bool same = true;
  const auto theirs = again.model->named_parameters();
  for (const auto& item : whole.model->named_parameters()) {
    same = same && torch::equal(item.value(), theirs[item.key()]);
  }
  CHECK(same == (part == "nothing"));
}

TEST_CASE("trainer: learns, and keeps the best validation") {
  const auto data = learnable_data(400);
  auto options = quick_options();
  options.epochs = 6;
  const TempDir dir;
  const auto trained = run_training(dir.path(), data, options);
  CHECK(trained.result.at("best").at("value").get<double>() > 0.8);
  double best = 0;
  for (const auto& event : events(dir.path(), "eval")) best = std::max(best, event.at("value").get<double>());
  CHECK(trained.result.at("best").at("value") == best);
  CHECK(trained.result.at("kept_step") == trained.result.at("best").at("step"));
}

TEST_CASE("trainer: weights of the best validation come back after a worse end") {
  const auto data = learnable_data(200);
  auto options = quick_options();
  options.optimizer.schedule = "constant";
  options.metric = "loss";
  options.epochs = 14;  // overfits
  options.optimizer.lr = 2e-2;
  const TempDir dir;
  const auto trained = run_training(dir.path(), data, options);
  const int64_t kept = trained.result.at("kept_step");
  REQUIRE(kept < trained.result.at("steps").get<int64_t>());
  eval::EvaluateOptions evaluation;
  const double loss = eval::evaluate(*trained.model, data.validation, evaluation).loss;
  CHECK(loss == Approx(trained.result.at("best").at("loss").get<double>()).epsilon(1e-5));
}

TEST_CASE("trainer: stops early without improvement") {
  const auto data = learnable_data(200);
  auto options = quick_options();
  options.epochs = 20;
  options.patience = 2;
  options.optimizer.lr = 0;
  const TempDir dir;
  const auto trained = run_training(dir.path(), data, options);
  CHECK(trained.result.at("stopped_early") == true);
  CHECK(events(dir.path(), "eval").size() == 3);
}

TEST_CASE(
    "trainer: a loss that is not a number stops the run, names the step and keeps the last good state") {
  const auto data = learnable_data(200);
  auto options = quick_options();
  options.optimizer.lr = 1e30;
  options.optimizer.warmup = 0;
  options.optimizer.clip_norm = 0;
  options.checkpoint_every = 1;
  const TempDir dir;
  const auto message = message_of([&] { run_training(dir.path(), data, options); });
  CHECK(contains(message, "at step"));
  CHECK(contains(message, "optimizer.lr"));
  CHECK(contains(message, "no good checkpoint"));  // the one of step 1 holds exploded weights
}

TEST_CASE("trainer: a checkpoint with exploded weights is not kept for the good one before it") {
  const auto data = learnable_data(200);
  auto options = quick_options();
  options.checkpoint_every = 1;
  options.max_steps = 4;
  const TempDir dir;
  run_training(dir.path(), data, options);
  options.max_steps = 12;
  options.optimizer.lr = 1e30;
  options.optimizer.clip_norm = 0;
  for (int attempt = 0; attempt < 2; ++attempt) {
    const auto message = message_of([&] { run_training(dir.path(), data, options); });
    CHECK(contains(message, "at step 6 of 12"));
    CHECK(contains(message, "the last good state is the checkpoint of step 4"));
    int files = 0;
    for (const auto& entry : fs::directory_iterator(dir / "checkpoints")) {
      CHECK(entry.path().filename() == "step-000004.safetensors");
      ++files;
    }
    CHECK(files == 1);
  }
}

TEST_CASE("trainer: auto alpha reaches its target sparsity") {
  const auto data = learnable_data(400);
  auto options = quick_options();
  options.epochs = 16;
  config::PenaltyOptions penalty;
  penalty.schedule = "auto";
  penalty.alpha = 1e-2;
  penalty.target_sparsity = 0.9;
  const TempDir dir;
  const auto trained = run_training(dir.path(), data, options, &penalty);
  CHECK(trained.result.at("mean_zeros").get<double>() == Approx(0.9).margin(0.02));
  CHECK(trained.result.at("best").at("value").get<double>() > 0.7);
}

TEST_CASE("trainer: a teacher changes what is learned, in bfloat16 too") {
  const auto data = learnable_data(100);
  auto options = quick_options();
  options.dtype = "bfloat16";
  config::DistillOptions distill;
  distill.teacher = "dense";
  const auto penalty = square_hoyer(1e-3);
  const TempDir dir;
  const auto trained = run_training(dir.path(), data, options, &penalty, 0, &distill);
  const auto logged = events(dir.path(), "train");
  REQUIRE(!logged.empty());
  CHECK(logged.front().at("distillation").get<double>() > 0);
  const auto weight = trained.model->parameters().front();
  CHECK(weight.scalar_type() == torch::kFloat32);
  const TempDir alone;
  const auto untaught = run_training(alone.path(), data, options, &penalty);
  CHECK(untaught.result.at("best").at("loss") != trained.result.at("best").at("loss"));
  CHECK_FALSE(torch::equal(weight, untaught.model->parameters().front()));
}

TEST_CASE("trainer: options that do not fit the task are refused") {
  auto data = learnable_data(40);
  auto options = quick_options();
  options.metric = "pearson";
  const TempDir dir;
  CHECK(contains(message_of([&] { run_training(dir.path(), data, options); }),
                 "does not fit a classification task"));
  data.task = data::Task::regression;
  options.metric = "pearson";
  options.label_smoothing = 0.1;
  CHECK(contains(message_of([&] { run_training(dir.path(), data, options); }), "'label_smoothing'"));
}
