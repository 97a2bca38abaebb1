#include <cmath>

#include "d2dmoe/train/alpha_schedule.h"
#include "support/support.h"

using namespace d2dmoe;
using namespace d2dmoe::test;

namespace {

config::PenaltyOptions schedule_options(const std::string& schedule) {
  config::PenaltyOptions options;
  options.alpha = 0.5;
  options.schedule = schedule;
  return options;
}

/// A model whose density follows alpha slowly: log density goes to -log(1 + gain * alpha) with a time
/// constant.
struct SlowModel {
  double gain, log_density = std::log(0.5);
  double zeros() const { return 1 - std::exp(log_density); }
  void step(double alpha) {
    log_density += (std::log(0.5) - 0.8 * std::log1p(gain * alpha) - log_density) / 60;
  }
};

}  // namespace

TEST_CASE("alpha: fixed schedules") {
  const train::AlphaSchedule constant(schedule_options("constant"), 100, "accuracy");
  CHECK(constant.at(0) == 0.5);
  const train::AlphaSchedule linear(schedule_options("linear"), 100, "accuracy");
  CHECK(linear.at(0) == 0);
  CHECK(linear.at(50) == Approx(0.25));
  const train::AlphaSchedule warmup(schedule_options("warmup"), 100, "accuracy");
  CHECK(warmup.at(25) == Approx(0.25));
  CHECK(warmup.at(50) == 0.5);
  CHECK(warmup.at(99) == 0.5);
}

TEST_CASE("alpha: validations before full alpha are second choice") {
  const train::AlphaSchedule warmup(schedule_options("warmup"), 100, "accuracy");
  CHECK(warmup.rank(60, 0.9, 0.80) > warmup.rank(40, 0.5, 0.95));
  CHECK(warmup.rank(80, 0.9, 0.90) > warmup.rank(60, 0.95, 0.80));
  const train::AlphaSchedule lower(schedule_options("constant"), 100, "loss");
  CHECK(lower.rank(1, 0, 0.2) > lower.rank(2, 0, 0.3));
}

TEST_CASE("alpha: auto steers slow models to their target sparsity") {
  for (const double gain : {1.0, 30.0, 1000.0}) {
    for (const double target : {0.8, 0.95}) {
      auto options = schedule_options("auto");
      options.alpha = 0.1;
      options.target_sparsity = target;
      const int64_t total = 750;
      train::AlphaSchedule alpha(options, total, "accuracy");
      SlowModel model{gain};
      double highest = 0;
      for (int64_t step = 0; step < total; ++step) {
        if (alpha.wants_zeros(step)) alpha.on_zeros(step, model.zeros());
        model.step(alpha.at(step));
        highest = std::max(highest, model.zeros());
      }
      INFO("gain " << gain << ", target " << target);
      CHECK(model.zeros() == Approx(target).margin(0.01));
      CHECK(highest < target + 0.25 * (1 - target));  // little overshoot
    }
  }
}

TEST_CASE("alpha: auto raises while the metric holds and backs off when it falls") {
  auto options = schedule_options("auto");
  options.max_metric_drop = 1.0;
  train::AlphaSchedule alpha(options, 1000, "accuracy");
  CHECK(alpha.wants_metric());
  alpha.set_reference(0.90);
  CHECK(alpha.at(0) == 0);
  const double start = alpha.at(200);
  alpha.on_metric(125, 0.895);
  CHECK(alpha.at(200) == Approx(2 * start));
  alpha.on_metric(250, 0.88);
  CHECK(alpha.at(300) == Approx(start / 2));
  alpha.on_metric(800, 0.90);  // late: held, not raised
  CHECK(alpha.at(850) == Approx(start / 2));
  CHECK(alpha.rank(900, 0.90, 0.891) > alpha.rank(800, 0.80, 0.95));  // within the bound: more zeros
  CHECK(alpha.rank(900, 0.10, 0.891) > alpha.rank(800, 0.99, 0.85));  // outside: never before one within
}

TEST_CASE("alpha: the state of a steered schedule goes on where it was") {
  for (const bool by_zeros : {true, false}) {
    auto options = schedule_options("auto");
    (by_zeros ? options.target_sparsity : options.max_metric_drop) = by_zeros ? 0.9 : 0.5;
    train::AlphaSchedule whole(options, 500, "accuracy"), second(options, 500, "accuracy");
    whole.set_reference(0.9);
    for (int64_t step = 0; step < 200; step += 5)
      whole.on_zeros(step, 0.5 + 0.001 * static_cast<double>(step));
    whole.on_metric(200, 0.9);
    second.load_state(nlohmann::ordered_json::parse(whole.state().dump()));
    for (auto* schedule : {&whole, &second}) {
      schedule->on_zeros(205, 0.7);
      schedule->on_metric(205, 0.8);
    }
    CHECK(whole.at(205) == second.at(205));
    CHECK(whole.at(205) != train::AlphaSchedule(options, 500, "accuracy").at(205));
    CHECK(whole.state() == second.state());
  }
}

TEST_CASE("alpha: goals and schedule must fit") {
  const auto refused = [](const config::PenaltyOptions& options) {
    return contains(message_of([&] { train::AlphaSchedule(options, 10, "accuracy"); }),
                    "does not fit its goals");
  };
  auto options = schedule_options("auto");
  CHECK(refused(options));
  options.target_sparsity = 0.9;
  CHECK_FALSE(refused(options));
  options.alpha = 0;
  CHECK(refused(options));
  options = schedule_options("constant");
  options.target_sparsity = 0.9;
  CHECK(refused(options));
}
