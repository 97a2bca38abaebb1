#include "d2dmoe/bench/layer_times.h"

#include "d2dmoe/bench/synthetic_layer.h"
#include "d2dmoe/core/error.h"
#include "d2dmoe/core/signals.h"
#include "support/support.h"

using namespace d2dmoe;
using namespace d2dmoe::test;
using Json = nlohmann::ordered_json;

namespace {

struct Setup {
  bench::SyntheticLayer layer;
  bench::LayerCase layer_case;
};

Setup setup_of(const bench::LayerShape& shape, int64_t rows, double share,
               torch::ScalarType dtype = torch::kFloat32) {
  bench::SyntheticOptions options;
  options.dtype = dtype;
  bench::SyntheticLayer layer(shape, options);
  bench::LayerCase layer_case{{layer.layer()}, layer.rows(rows), {}};
  layer_case.selection = layer.selection(layer_case.x, share);
  return {std::move(layer), std::move(layer_case)};
}

constexpr bench::TimingBudget kShort{3, 0};

}  // namespace

TEST_CASE("layer times: odd sizes, gates, dtypes and shares are validated and timed") {
  using enum kernels::Activation;
  const std::vector<bench::LayerShape> shapes = {
      {"one", 1, 1, 1},
      {"odd", 19, 5, 33, false, true, gelu_erf},
      {"gated", 40, 6, 3, true, false, silu},
      {"gated, biases", 24, 4, 8, true, true, gelu_tanh},
  };
  for (const auto& shape : shapes) {
    for (const auto dtype : {torch::kFloat32, torch::kBFloat16, torch::kFloat16}) {
      for (const int64_t rows : {1, 37}) {
        for (const double share : {0.0, 0.3, 1.0}) {
          INFO(shape.name << ", " << c10::toString(dtype) << ", " << rows << " rows, share " << share);
          const auto setup = setup_of(shape, rows, share, dtype);
          const auto point = bench::time_layer(setup.layer_case, kShort);
          CHECK(point.turns == 3);
          // Few inputs and rounded rows make ties.
          CHECK(point.share == Approx(share).margin(2.1 / static_cast<double>(rows * shape.experts)));
          CHECK(point.layer.median > 0);
        }
      }
    }
  }
}

TEST_CASE(
    "layer times: work is counted as 2 FLOPs per multiply-accumulate, and bytes of the experts touched") {
  // 8 rows, 6 of 24 experts each: 2 * 8 * 0.25 * 24 * 4 neurons * (2 products of 16).
  auto setup = setup_of({"plain", 16, 24, 4}, 8, 0.25);
  setup.layer_case.layers.push_back(setup.layer.copy());
  const auto point = bench::time_layer(setup.layer_case, kShort);
  CHECK(point.copies == 2);
  CHECK(point.dense_flops == 2.0 * 8 * 96 * 32);
  CHECK(point.kernel_flops == 0.25 * point.dense_flops);
  CHECK(point.dense_bytes == 4.0 * 96 * 32);
  const auto mask = bench::chosen_experts(setup.layer_case);
  const auto touched = mask.any(0).sum().item<int64_t>();
  CHECK(point.kernel_bytes == Approx(4.0 * static_cast<double>(touched) * 4 * 32));

  const auto gated = bench::time_layer(setup_of({"gated", 16, 24, 4, true}, 8, 1).layer_case, kShort);
  CHECK(gated.dense_flops == 2.0 * 8 * 96 * 48);

  bench::MachinePeaks peaks;
  peaks.gigabytes = 10, peaks.gflops = 100;
  const Json json = point.to_json(peaks);
  CHECK(json.at("rate").at("unit") == "GB/s");  // 8 rows wait for weights
  CHECK(json.at("rate").at("dense").get<double>() == Approx(point.dense_bytes / point.dense.median * 1e-6));
  CHECK(json.at("rate").at("dense_of_peak").get<double>() ==
        Approx(json.at("rate").at("dense").get<double>() / 10));
  CHECK(json.at("layer").at("ratio").get<double>() == Approx(point.layer.median / point.dense.median));
  CHECK(json.at("kernel").at("ratio_p10") <= json.at("kernel").at("ratio_p90"));

  const auto many = bench::time_layer(setup_of({"plain", 16, 24, 4}, 17, 0.25).layer_case, kShort);
  const Json rate = many.to_json(peaks).at("rate");
  CHECK(rate.at("unit") == "GFLOP/s");
  CHECK(rate.at("kernel").get<double>() == Approx(many.kernel_flops / many.kernel.median * 1e-6));
}

TEST_CASE("layer times: rows that choose alike can be timed standing together") {
  const auto mask =
      torch::tensor({{1, 0, 1}, {0, 1, 1}, {1, 0, 1}, {0, 0, 0}, {1, 1, 1}, {0, 1, 1}}, torch::kBool);
  // Most rows choose expert 2, then 0 and 1 (three each).
  CHECK(torch::equal(bench::similar_order(mask), torch::tensor({4, 0, 2, 1, 5, 3}, torch::kLong)));

  auto setup = setup_of({"plain", 16, 24, 4}, 40, 0.25);
  CHECK_FALSE(bench::time_layer(setup.layer_case, kShort).to_json({}).contains("ordered"));
  setup.layer_case.ordered = true;
  const auto point = bench::time_layer(setup.layer_case, kShort);
  CHECK(point.ordered->median > 0);
  CHECK(point.moved->median > 0);
  CHECK(point.to_json({}).at("moved").at("median_ms") == point.moved->median);
}

TEST_CASE("layer times: a way that is wrong in one element is not timed") {
  const auto setup = setup_of({"own", 16, 6, 4}, 20, 0.5);
  const auto& x = setup.layer_case.x;
  const auto w = setup.layer.layer()->weights();
  const auto mask = bench::chosen_experts(setup.layer_case);
  const auto wrong = [&](int64_t row, double by) {
    return [&, row, by](size_t) {
      const torch::NoGradGuard no_grad;
      auto y = kernels::expert_mlp(x, mask, w);
      y[row][15] += by;
      return y;
    };
  };
  const auto message = [&](std::function<torch::Tensor(size_t)> run) {
    return message_of([&] { bench::validate({{"kernel", run, mask}}, x, w); });
  };
  CHECK(message(wrong(0, 0)) == "");
  CHECK(contains(message(wrong(0, 1e-3)), "[bench] 'kernel': is off the reference by 0.001"));
  CHECK(contains(message(wrong(19, 1e-3)), "wrong results are not timed"));
  CHECK(contains(message(wrong(19, NAN)), "nan (root mean square "));
  // The right function of another mask is wrong, too.
  CHECK(contains(message([&](size_t) { return kernels::dense_mlp(x, w); }), "is off the reference"));
}

TEST_CASE("layer times: the budget ends a point, and so does a stop") {
  const auto layer_case = setup_of({"own", 16, 6, 4}, 4, 0.5).layer_case;
  CHECK(bench::time_layer(layer_case, {2, 60}).turns == 2);
  CHECK(bench::time_layer(layer_case, {50, 0}).turns == 5);
  request_stop();
  CHECK(contains(message_of([&] { bench::time_layer(layer_case, {50, 60}); }), "[bench] stopped"));
  request_stop(false);
}

TEST_CASE("layer times: who goes first rotates, and ratios are of the same turn") {
  eval::TurnClock clock(3);
  std::vector<size_t> order;
  double ms = 1;
  for (int turn = 0; turn < 4; ++turn) {
    clock.measure([&](size_t candidate) {
      order.push_back(candidate);
      return ms * static_cast<double>(candidate + 1);
    });
    ms *= 10;  // a machine that gets slower disturbs all alike
  }
  CHECK(order == std::vector<size_t>({0, 1, 2, 1, 2, 0, 2, 0, 1, 0, 1, 2}));
  CHECK(clock.turns() == 4);
  CHECK(clock.ratio(2, 0).p10 == 3);
  CHECK(clock.ratio(2, 0).p90 == 3);
  CHECK(clock.spread(1).median == Approx(110));  // of 2, 20, 200, 2000
}
