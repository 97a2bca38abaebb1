#include "d2dmoe/eval/timing.h"

#include "d2dmoe/core/error.h"
#include "d2dmoe/eval/quantile.h"
#include "support/support.h"
#include "tiny.h"

using namespace d2dmoe;
using namespace d2dmoe::test;

TEST_CASE("timing: pairs of runs at every batch size, until the runs are done") {
  const auto dense = tiny_model(), routed = tiny_model();
  convert_all(*routed, 8);
  eval::TimingOptions options;
  options.batch_sizes = {1, 4};
  options.runs = 6;
  options.seconds = 60;
  const auto timings = eval::compare_times(*dense, *routed, tiny_dataset(10), options);
  REQUIRE(timings.size() == 2);
  for (size_t i = 0; i < 2; ++i) {
    const auto& t = timings[i];
    CHECK(t.batch == options.batch_sizes[i]);
    CHECK(t.runs == 6);
    CHECK(t.dense_ms > 0);
    CHECK(t.ratio == Approx(t.routed_ms / t.dense_ms));
    CHECK(t.p10 <= t.ratio_of_pairs);
    CHECK(t.ratio_of_pairs <= t.p90);
    CHECK(t.to_json().at("batch") == options.batch_sizes[i]);
  }
  CHECK(timings[1].tokens > timings[0].tokens);

  options.seconds = 0;  // over at once: as many pairs as a median needs
  CHECK(eval::compare_times(*dense, *routed, tiny_dataset(10), options)[0].runs == 6);
  options.runs = 50;
  CHECK(eval::compare_times(*dense, *routed, tiny_dataset(10), options)[0].runs == 11);
}

TEST_CASE("timing: an epoch's last, smaller batch is not timed") {
  const auto dense = tiny_model(), routed = tiny_model();
  eval::TimingOptions options;
  options.batch_sizes = {4, 64};
  options.runs = 1;
  for (options.seed = 0; options.seed < 8; ++options.seed) {
    const auto timings = eval::compare_times(*dense, *routed, tiny_dataset(10), options);
    CHECK(timings[0].batch == 4);
    CHECK(timings[1].batch == 10);  // all that there is
  }
}

TEST_CASE("timing: a model whose output is not finite is not timed") {
  const auto dense = tiny_model(), broken = tiny_model();
  {
    const torch::NoGradGuard no_grad;
    broken->sites()[0]->layer()->weights().b2.fill_(NAN);
  }
  const auto message = message_of([&] {
    eval::compare_times(*dense, *broken, tiny_dataset(4), {{1}, 1, 2, 0, torch::kCPU});
  });
  CHECK(contains(message, "'routed': its output is not finite"));
}

TEST_CASE("timing: quantiles interpolate as numpy's") {
  CHECK(eval::quantile({4, 1, 3, 2}, 0.5) == Approx(2.5));
  CHECK(eval::quantile({4, 1, 3, 2}, 0.1) == Approx(1.3));
  CHECK(eval::quantile({7}, 0.9) == 7);
}
