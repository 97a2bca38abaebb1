#include <fstream>

#include "d2dmoe/core/error.h"
#include "d2dmoe/core/signals.h"
#include "d2dmoe/io/atomic_file.h"
#include "d2dmoe/moe/router_training.h"
#include "support/support.h"
#include "tiny_moe.h"

using namespace d2dmoe;
using namespace d2dmoe::test;
namespace fs = std::filesystem;

namespace {

constexpr int64_t kD = 12, kExperts = 8;

/// Two sites of very different scale whose norms a small router can learn.
struct Problem {
  Problem() : data{store(3000, 1), store(600, 2)} {
    for (int64_t i = 0; i < 2; ++i) {
      auto router = std::make_shared<moe::Router>(kD, 32, 2, kExperts, static_cast<uint64_t>(10 + i));
      auto layer = std::make_shared<moe::ExpertFeedForward>(random_weights(kD, 48, false), kExperts, 0,
                                                            std::move(router));
      owned.push_back(std::make_unique<nn::Site>(
          nn::SiteId{.index = i, .name = "layers." + std::to_string(i) + ".ffn"}, std::move(layer)));
      sites.push_back(owned.back().get());
    }
    options.epochs = 6;
    options.batch_tokens = 256;
    options.lr = 5e-3;
  }

  static moe::TokenStore store(int64_t rows, uint64_t seed) {
    moe::TokenStore store(rows, {{kD, kExperts}, {kD, kExperts}}, int64_t{1} << 30, ".");
    torch::manual_seed(99);
    const auto directions = torch::randn({kD, kExperts});
    torch::manual_seed(seed);
    for (size_t i = 0; i < 2; ++i) {
      const auto x = torch::randn({rows, kD}).to(torch::kBFloat16);
      store.inputs(i).copy_(x);
      store.targets(i).copy_(torch::relu(x.to(torch::kFloat32).mm(directions)) * (i == 0 ? 0.001 : 50));
    }
    return store;
  }

  std::vector<moe::RouterResult> train(io::RunFolder& run, int64_t checkpoint_every = 0) {
    return moe::train_routers({.sites = sites,
                               .data = data,
                               .options = options,
                               .run = run,
                               .checkpoint_every = checkpoint_every,
                               .seed = 7});
  }

  std::vector<torch::Tensor> weights() const {
    std::vector<torch::Tensor> all;
    for (auto* site : sites) {
      for (const auto& w : moe::as_experts(*site)->router()->weights()) all.push_back(w.detach().clone());
    }
    return all;
  }

  moe::RouterData data;
  std::vector<std::unique_ptr<nn::Site>> owned;
  std::vector<nn::Site*> sites;
  config::RouterOptions options;
};

bool equal(const std::vector<torch::Tensor>& a, const std::vector<torch::Tensor>& b) {
  return std::equal(a.begin(), a.end(), b.begin(), b.end(),
                    [](const torch::Tensor& x, const torch::Tensor& y) { return torch::equal(x, y); });
}

const nlohmann::ordered_json kConfig = {{"test", 1}};

}  // namespace

TEST_CASE("router training: a small split gets smaller steps, not few of them") {
  config::RouterOptions options;
  options.epochs = 7;
  options.batch_tokens = 4096;
  CHECK(moe::router_batch(356000, options) == 4096);
  CHECK(moe::router_batch(100000, options) == 1400);  // 500 steps
  CHECK(moe::router_batch(5000, options) == 256);
  options.batch_tokens = 100;
  CHECK(moe::router_batch(5000, options) == 100);  // never more than was asked for
}

TEST_CASE("router training: routers of any scale beat the mean clearly and approach the oracle") {
  const TempDir dir;
  Problem problem;
  problem.options.epochs = 40;
  problem.options.lr = 1e-2;
  io::RunFolder run(dir / "run", kConfig);
  const auto results = problem.train(run);
  REQUIRE(results.size() == 2);
  for (const auto& result : results) {
    CAPTURE(result.site, result.quality.mse, result.quality.mse_of_mean);
    CHECK(result.quality.rows == 600);
    CHECK(result.quality.mse < 0.2 * result.quality.mse_of_mean);
    for (const auto& mass : result.quality.captured) {
      CAPTURE(mass.executed, mass.router, mass.oracle);
      CHECK(mass.router > 0.85 * mass.oracle);
    }
    CHECK(result.best_epoch > 0);
  }
  // The unit is the norms' own again: predictions lie at the targets' mean.
  CHECK(results[1].mean_norm == Approx(problem.data.train.targets(1).mean().item<double>()).epsilon(0.1));
  CHECK(results[0].mean_norm == Approx(problem.data.train.targets(0).mean().item<double>()).epsilon(0.1));
  const auto metrics = io::read_file(run.dir() / "metrics.jsonl");
  CHECK(contains(metrics, "\"event\":\"router\""));
  CHECK(contains(metrics, "\"event\":\"router_eval\""));
  CHECK(contains(metrics, "mse_mean"));
}

TEST_CASE("router training: a seed decides the bytes, whatever the threads") {
  const TempDir dir;
  std::vector<std::vector<torch::Tensor>> weights;
  const int threads = at::get_num_threads();
  for (const int count : {1, 2, threads}) {
    at::set_num_threads(count);
    Problem problem;
    io::RunFolder run(dir / std::to_string(weights.size()), kConfig);
    problem.train(run);
    weights.push_back(problem.weights());
  }
  at::set_num_threads(threads);
  CHECK(equal(weights[0], weights[1]));
  CHECK(equal(weights[0], weights[2]));
}

TEST_CASE("router training: stopped at any step and resumed ends at the same bytes") {
  const TempDir dir;
  Problem whole;
  whole.options.epochs = 3;
  whole.options.patience = 2;
  std::string metrics;
  {
    io::RunFolder run(dir / "whole", kConfig);
    whole.train(run);
    metrics = io::read_file(run.dir() / "metrics.jsonl");
  }
  for (const int64_t every : {1, 5, 13}) {
    CAPTURE(every);
    const fs::path run_dir = dir / ("every" + std::to_string(every));
    {  // stopped before its first step
      Problem stopped;
      stopped.options = whole.options;
      io::RunFolder run(run_dir, kConfig);
      request_stop();
      CHECK_THROWS_AS(stopped.train(run, every), Interrupted);
      request_stop(false);
    }
    {  // its result is thrown away with the process, its last checkpoint stays
      Problem lost;
      lost.options = whole.options;
      io::RunFolder run(run_dir, kConfig);
      lost.train(run, every);
    }
    Problem resumed;
    resumed.options = whole.options;
    io::RunFolder run(run_dir, kConfig);
    resumed.train(run, every);  // from its last checkpoint
    CHECK(equal(resumed.weights(), whole.weights()));
    CHECK(io::read_file(run.dir() / "metrics.jsonl") == metrics);
  }
}

TEST_CASE("router training: patience stops a site, the best weights stay") {
  const TempDir dir;
  Problem problem;
  problem.options.lr = 0.3;  // too large: the error jumps about
  problem.options.schedule = "constant";
  problem.options.epochs = 40;
  problem.options.patience = 2;
  io::RunFolder run(dir / "run", kConfig);
  const auto results = problem.train(run);
  std::ifstream lines(run.dir() / "metrics.jsonl");
  double best_loss = 1e300, best = 0;
  int64_t evaluations = 0;
  for (std::string line; std::getline(lines, line);) {
    const auto event = nlohmann::ordered_json::parse(line);
    if (event["event"] != "router_eval") continue;
    ++evaluations;
    for (const auto& site : event["sites"]) {
      if (site["site"] != "layers.1.ffn" || site["loss"].get<double>() >= best_loss) continue;
      best_loss = site["loss"];
      best = site["mse"];
    }
  }
  CHECK(evaluations < 40);
  CHECK(results[1].quality.mse == Approx(best).epsilon(1e-4));
}

TEST_CASE("router training: no validation rows, one row, a loss that is NaN") {
  const TempDir dir;
  {
    Problem problem;
    problem.data.validation = Problem::store(0, 2);
    problem.data.train = Problem::store(1, 2);
    io::RunFolder run(dir / "small", kConfig);
    CHECK(problem.train(run)[0].quality.rows == 1);
  }
  Problem problem;
  problem.data.train.inputs(1)[5][0] = std::numeric_limits<float>::quiet_NaN();
  io::RunFolder run(dir / "nan", kConfig);
  const auto message = message_of([&] { problem.train(run); });
  CHECK(contains(message, "layers.1.ffn"));
  CHECK(contains(message, "step"));
}
