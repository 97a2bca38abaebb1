#include "d2dmoe/kernels/route.h"

#include "d2dmoe/kernels/cpu/micro.h"
#include "kernels/mlp_cases.h"

using namespace d2dmoe;
using namespace d2dmoe::kernels;

namespace {

std::vector<torch::Tensor> random_router(const std::vector<int64_t>& widths) {
  std::vector<torch::Tensor> weights;
  for (size_t i = 1; i < widths.size(); ++i)
    weights.push_back(torch::randn({widths[i], widths[i - 1]}) /
                      std::sqrt(static_cast<double>(widths[i - 1])));
  return weights;
}

/// The layers one after the other, in float64.
torch::Tensor expected_scores(const torch::Tensor& x, const std::vector<torch::Tensor>& weights) {
  torch::Tensor h = x.to(torch::kDouble);
  for (size_t i = 0; i < weights.size(); ++i)
    h = torch::linear(i == 0 ? h : torch::relu(h), weights[i].to(torch::kDouble));
  return h.abs();
}

/// At least half of the row's best.
struct HalfOfBest {
  int64_t experts;
  void operator()(const float* scores, bool* mask) const {
    const float best = *std::max_element(scores, scores + experts);
    for (int64_t e = 0; e < experts; ++e) mask[e] = scores[e] >= 0.5f * best && scores[e] > 0;
  }
};

// Rounding: terms of size 1 in every sum, as many as the widest layer has inputs.
constexpr double kTolerance = 2e-5;

void check_route(const torch::Tensor& x, const std::vector<torch::Tensor>& weights, int64_t shared) {
  const auto packed = pack_router(weights);
  const int64_t routed = weights.back().size(0);
  const HalfOfBest rule{routed};
  const Routing got = route(x, packed, shared, rule);
  const auto want = expected_scores(x, weights);
  REQUIRE(got.scores.sizes() == std::vector<int64_t>{x.size(0), shared + routed});
  REQUIRE(got.mask.sizes() == got.scores.sizes());
  const auto mine = got.scores.narrow(1, shared, routed).contiguous();
  CHECK(test::difference(mine, want.to(torch::kFloat), kTolerance) == "");
  CHECK(got.usable);
  CHECK(got.pairs == got.mask.sum().item<int64_t>());
  const auto best = mine.numel() ? mine.amax(1, true) : mine;
  if (mine.numel())
    CHECK(torch::equal(got.mask.narrow(1, shared, routed), mine.ge(best * 0.5f).logical_and(mine.gt(0))));
  if (shared > 0 && mine.numel()) {
    CHECK(got.mask.narrow(1, 0, shared).all().item<bool>());
    CHECK(torch::equal(got.scores.narrow(1, 0, shared), best.expand({x.size(0), shared})));
  }
}

}  // namespace

TEST_CASE("route: scores and marks of every size around tiles, panels and vectors") {
  torch::manual_seed(20);
  for (const int64_t rows : {0, 1, 2, 3, 4, 5, 7, 8, 9, 15, 31, 33, 100})
    for (const int64_t experts : {1, 15, 16, 24, 64}) {
      INFO("rows " << rows << ", experts " << experts);
      check_route(torch::randn({rows, 33}), random_router({33, 40, experts}), 0);
    }
  for (const int64_t d : {1, 3, 16, 17, 384})
    for (const int64_t width : {1, 16, 128, 130}) {
      INFO("d " << d << ", width " << width);
      check_route(torch::randn({9, d}), random_router({d, width, 20}), 0);
    }
}

TEST_CASE("route: any depth, shared experts before the routed ones") {
  torch::manual_seed(21);
  for (const std::vector<int64_t>& widths :
       {std::vector<int64_t>{40, 9}, {40, 24, 9}, {40, 24, 17, 9}, {40, 5, 64, 3, 9}})
    for (const int64_t shared : {0, 1, 3})
      for (const int64_t rows : {1, 8, 50})
        check_route(torch::randn({rows, 40}), random_router(widths), shared);
}

TEST_CASE("route: bfloat16 rows, and rows that stand apart") {
  torch::manual_seed(22);
  const auto weights = random_router({48, 32, 12});
  const auto packed = pack_router(weights);
  for (const int64_t rows : {2, 70}) {
    const auto x = torch::randn({rows, 48});
    const HalfOfBest rule{12};
    const auto rounded = x.to(torch::kBFloat16);
    CHECK(torch::equal(route(rounded, packed, 0, rule).scores,
                       route(rounded.to(torch::kFloat), packed, 0, rule).scores));
    const auto wide = torch::randn({rows * 2, 60});
    const auto apart = wide.slice(0, 0, 2 * rows, 2).slice(1, 5, 53);
    const auto columns = torch::randn({48, rows}).t();
    for (const auto& view : {apart, columns})
      for (const auto type : {torch::kFloat, torch::kBFloat16}) {
        const auto typed =
            type == torch::kFloat ? view : wide.to(type).slice(0, 0, 2 * rows, 2).slice(1, 5, 53);
        CHECK(torch::equal(route(typed, packed, 0, rule).scores,
                           route(typed.contiguous(), packed, 0, rule).scores));
      }
  }
}

TEST_CASE("route: a row's bytes depend neither on its neighbours nor on the number of threads") {
  torch::manual_seed(23);
  const int threads = torch::get_num_threads();
  const auto packed =
      pack_router(random_router({700, 144, 24}));  // wide enough for a second thread at one row
  const auto x = torch::randn({203, 700});
  const HalfOfBest rule{24};
  torch::set_num_threads(1);
  const auto one = route(x, packed, 0, rule).scores;
  for (const int count : {2, 3}) {
    torch::set_num_threads(count);
    CHECK(torch::equal(route(x, packed, 0, rule).scores, one));
    for (const auto& [first, rows] :
         {std::pair<int64_t, int64_t>{0, 1}, {57, 1}, {11, 6}, {90, 8}, {100, 30}})
      CHECK(
          torch::equal(route(x.narrow(0, first, rows), packed, 0, rule).scores, one.narrow(0, first, rows)));
  }
  torch::set_num_threads(threads);
}

TEST_CASE("route: every instruction set of this processor") {
  torch::manual_seed(24);
  int count = 0;
  const cpu::Micro* const* sets = cpu::available_micros(&count);
  for (int i = 0; i < count; ++i) {
    INFO(sets[i]->name);
    const test::ScopedEnv isa("D2DMOE_ISA", sets[i]->name);
    for (const int64_t rows : {1, 2, 3, 4, 6, 8, 37})
      check_route(torch::randn({rows, 50}), random_router({50, 130, 40}), 1);
  }
}

TEST_CASE("route: NaN and infinity are told, a hidden NaN is not lost in the ReLU") {
  torch::manual_seed(25);
  const auto packed = pack_router(random_router({20, 16, 5}));
  const HalfOfBest rule{5};
  for (const int64_t rows : {1, 40})
    for (const float bad :
         {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity()}) {
      auto x = torch::randn({rows, 20});
      CHECK(route(x, packed, 0, rule).usable);
      x[rows - 1][7] = bad;
      CHECK_FALSE(route(x, packed, 0, rule).usable);
    }
}

TEST_CASE("route: what is refused") {
  const auto router = random_router({20, 16, 5});
  const auto packed = pack_router(router);
  const HalfOfBest rule{5};
  const auto refused = [&](const torch::Tensor& x, int64_t shared = 0) {
    return test::message_of([&] { route(x, packed, shared, rule); });
  };
  CHECK(test::contains(refused(torch::ones({3, 19})), "must be [rows, 20]"));
  CHECK(test::contains(refused(torch::ones({20})), "must be [rows, 20]"));
  CHECK(test::contains(refused(torch::ones({3, 20}, torch::kDouble)), "must be float32 or bfloat16"));
  CHECK(test::contains(refused(torch::ones({3, 20}), -1), "'shared'"));
  CHECK(test::contains(test::message_of([&] { pack_router({}); }), "no layer"));
  CHECK(test::contains(test::message_of([&] { pack_router({router[0], router[0]}); }), "must be 16"));
  CHECK(test::contains(test::message_of([&] { pack_router({router[0].to(torch::kHalf)}); }), "float32"));
}
