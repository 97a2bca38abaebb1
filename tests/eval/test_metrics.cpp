#include "d2dmoe/eval/metrics.h"

#include <set>

#include <cmath>

#include "d2dmoe/config/names.h"
#include "d2dmoe/core/error.h"
#include "d2dmoe/core/random.h"
#include "d2dmoe/io/json_file.h"
#include "support/support.h"

using namespace d2dmoe;
using namespace d2dmoe::test;

namespace {

eval::Predictions predictions_of(const std::vector<std::vector<double>>& logits,
                                 const std::vector<double>& labels) {
  eval::Predictions p;
  p.logits = torch::empty({static_cast<int64_t>(logits.size()), static_cast<int64_t>(logits.at(0).size())});
  for (size_t i = 0; i < logits.size(); ++i) p.logits[static_cast<int64_t>(i)] = torch::tensor(logits[i]);
  p.labels = torch::tensor(labels, torch::kFloat64);
  p.task = p.logits.size(1) == 1 ? data::Task::regression : data::Task::classification;
  p.losses = eval::task_losses(p.logits, p.labels, p.task);
  return p;
}

/// Two classes, each example right with probability `share`.
eval::Predictions coin(int64_t n, double share, uint64_t seed) {
  Rng rng(seed);
  eval::Predictions p;
  p.labels = torch::zeros({n}, torch::kFloat64);
  p.logits = torch::zeros({n, 2});
  for (int64_t i = 0; i < n; ++i) p.logits[i][rng.uniform() < share ? 0 : 1] = 1.0;
  return p;
}

}  // namespace

TEST_CASE("metrics: the registry holds every name that the config takes") {
  std::set<std::string> fitting;
  for (const auto task : {data::Task::classification, data::Task::regression, data::Task::language_modeling,
                          data::Task::multiple_choice}) {
    for (const auto& name : eval::metrics_of(task)) {
      CHECK(eval::resolve_metric(name, task) == name);
      fitting.insert(name);
    }
    CHECK(eval::resolve_metric("auto", task) == eval::metrics_of(task).front());
  }
  std::set<std::string> names;
  for (const auto& choice : config::kMetrics) names.emplace(choice.name);
  names.erase("auto");
  CHECK(fitting == names);
}

TEST_CASE("metrics: equal scikit-learn and scipy", "[golden]") {
  const auto cases = io::read_json_file(golden("eval/metrics.json")).at("cases");
  REQUIRE(cases.size() == 5);
  for (const auto& c : cases) {
    const auto p = predictions_of(c.at("logits").get<std::vector<std::vector<double>>>(),
                                  c.at("labels").get<std::vector<double>>());
    for (const auto& [name, value] : c.at("metrics").items()) {
      INFO(c.at("name") << ", " << name);
      CHECK(eval::metric(name, p) == Approx(value.get<double>()).epsilon(1e-5).margin(1e-6));
    }
  }
}

TEST_CASE("metrics: what is undefined is 0, what does not fit is refused") {
  const auto classes = predictions_of({{1, 0}, {1, 0}}, {0, 1});
  CHECK(eval::metric("mcc", classes) == 0);
  const auto constant = predictions_of({{2}, {2}, {2}}, {1, 2, 3});
  CHECK(eval::metric("pearson", constant) == 0);
  CHECK(contains(message_of([&] { eval::metric("accuracy", constant); }), "does not fit a regression task"));
  CHECK(
      contains(message_of([&] { eval::metric("pearson", classes); }), "does not fit a classification task"));
  CHECK(contains(message_of([&] { eval::metric("acuracy", classes); }),
                 "did you mean 'accuracy'? There are accuracy,"));
  const auto far = message_of([&] { eval::metric("area_under_the_curve", classes); });
  CHECK(contains(far, "no such metric. Hint: there are accuracy,"));
}

TEST_CASE("metrics: bootstrap intervals are deterministic, hold the metric and cover the truth") {
  const auto p = coin(200, 0.7, 1);
  const auto interval = eval::bootstrap("accuracy", p, 500, 42);
  const auto again = eval::bootstrap("accuracy", p, 500, 42);
  CHECK(interval.low == again.low);
  CHECK(interval.high == again.high);
  CHECK(eval::bootstrap("accuracy", p, 500, 43).low != Approx(interval.low).margin(1e-12));
  CHECK(interval.contains(eval::metric("accuracy", p)));
  // The normal approximation: 1.96 sqrt(0.7 * 0.3 / 200) = 0.0635 to each side.
  CHECK(interval.high - interval.low == Approx(0.127).margin(0.025));

  int covered = 0;
  constexpr int kDraws = 100;
  for (uint64_t draw = 0; draw < kDraws; ++draw) {
    covered += eval::bootstrap("accuracy", coin(200, 0.7, 100 + draw), 200, draw).contains(0.7);
  }
  CHECK(covered >= 88);
  CHECK(covered <= 100);

  const auto none = eval::bootstrap("accuracy", p, 0, 42);
  CHECK(none.low == none.high);
  CHECK(none.low == eval::metric("accuracy", p));
}

TEST_CASE("metrics: every metric's interval holds the metric") {
  Rng rng(9);
  std::vector<std::vector<double>> logits, values;
  std::vector<double> labels, targets;
  for (int i = 0; i < 60; ++i) {
    const double label = static_cast<double>(rng.below(3));
    logits.push_back({rng.uniform(), rng.uniform(), rng.uniform()});
    logits.back()[static_cast<size_t>(label)] += 0.3;
    labels.push_back(label);
    targets.push_back(rng.uniform());
    values.push_back({targets.back() + 0.5 * rng.uniform()});
  }
  const auto classes = predictions_of(logits, labels), numbers = predictions_of(values, targets);
  for (const auto* p : {&classes, &numbers}) {
    for (const auto& name : eval::metrics_of(p->task)) {
      if (name == "top5_accuracy") continue;  // three classes: always 1
      INFO(name);
      const auto interval = eval::bootstrap(name, *p, 300, 1);
      CHECK(interval.low < interval.high);
      CHECK(interval.contains(eval::metric(name, *p)));
    }
  }
}

TEST_CASE("metrics: a paired difference cancels what both models share") {
  const auto a = coin(400, 0.8, 3);
  const auto same = eval::bootstrap_difference("accuracy", a, a, 200, 5);
  CHECK(same.low == 0);
  CHECK(same.high == 0);
  auto b = a;
  b.logits = a.logits.clone();
  for (int64_t i = 0; i < 4; ++i) b.logits[i] = torch::tensor({0.0f, 1.0f});  // a few more wrong ones
  const auto paired = eval::bootstrap_difference("accuracy", a, b, 500, 5);
  const auto alone = eval::bootstrap("accuracy", a, 500, 5);
  CHECK(paired.high - paired.low < 0.5 * (alone.high - alone.low));
  CHECK(paired.contains(eval::metric("accuracy", a) - eval::metric("accuracy", b)));
  auto other = a;
  other.labels = torch::ones({400}, torch::kFloat64);
  CHECK(contains(message_of([&] { eval::bootstrap_difference("accuracy", a, other, 10, 1); }),
                 "same examples"));
}

TEST_CASE("metrics: the upper bound of a paired loss is the normal one, where there are many examples") {
  // Of 2000 examples 80 are lost and 20 gained: 3 points, with a variance per example of 0.05 - 0.03^2.
  auto reference = coin(2000, 1, 3), other = reference;
  reference.logits = reference.logits.clone(), other.logits = reference.logits.clone();
  const auto turn = [](eval::Predictions& p, int64_t first, int64_t count) {
    p.logits.narrow(0, first, count).copy_(p.logits.narrow(0, first, count).flip(1));
  };
  turn(other, 0, 80), turn(reference, 80, 20);
  const double error = 100 * std::sqrt((0.05 - 0.0009) / 2000);
  const auto bound = [&](double confidence) {
    return eval::points_worse_at_most("accuracy", reference, other, confidence, 4000, 1);
  };
  CHECK(bound(0.5) == Approx(3).margin(0.05));
  CHECK(bound(0.8) == Approx(3 + 0.8416 * error).margin(0.05));
  CHECK(bound(0.975) == Approx(3 + 1.96 * error).margin(0.08));
  CHECK(eval::points_worse_at_most("accuracy", reference, reference, 0.9, 50, 1) == 0);
  CHECK(contains(message_of([&] { bound(1); }), "'confidence'"));
}

TEST_CASE("metrics: the five likeliest of ten classes") {
  eval::Predictions p;
  p.logits = torch::arange(10, torch::kFloat32).repeat({4, 1});  // class 9 is the likeliest, then 8, …
  p.labels = torch::tensor({9.0, 5.0, 4.0, 0.0}, torch::kFloat64);
  CHECK(eval::metric("top5_accuracy", p) == 0.5);
  CHECK(eval::metric("accuracy", p) == 0.25);
}

TEST_CASE("metrics: language models are judged per counted token, and per byte") {
  eval::Predictions p;
  p.task = data::Task::language_modeling;
  p.labels = torch::full({2}, std::numeric_limits<double>::quiet_NaN(), torch::kFloat64);
  p.losses = torch::tensor({3.0, 9.0}, torch::kFloat64);
  p.counts = torch::tensor({1.0, 5.0}, torch::kFloat64);
  p.bytes = torch::tensor({4.0, 20.0}, torch::kFloat64);
  CHECK(eval::metric("loss", p) == Approx(2));
  CHECK(eval::metric("perplexity", p) == Approx(std::exp(2.0)));
  CHECK(eval::metric("bits_per_byte", p) == Approx(12 / std::log(2.0) / 24));
  CHECK(eval::bootstrap("perplexity", p, 50, 1).high <= std::exp(3.0) + 1e-9);
  CHECK(eval::bootstrap_difference("perplexity", p, p, 50, 1).high == 0);
}
