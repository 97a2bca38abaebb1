#include "d2dmoe/kernels/route.h"

#include "d2dmoe/kernels/cpu/isa.h"
#include "d2dmoe/kernels/cpu/micro.h"
#include "d2dmoe/kernels/cpu/route.h"
#include "kernels/emulated_amx.h"
#include "kernels/error_bounds.h"

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

/// The layers one after the other, in float64; what stands between two of them is rounded to x's dtype.
torch::Tensor expected_scores(const torch::Tensor& x, const std::vector<torch::Tensor>& weights) {
  torch::Tensor h = x.to(torch::kDouble);
  for (size_t i = 0; i < weights.size(); ++i) {
    if (i > 0 && x.scalar_type() == torch::kBFloat16)
      h = h.to(torch::kFloat).to(torch::kBFloat16).to(torch::kDouble);
    h = torch::linear(i == 0 ? h : torch::relu(h), weights[i].to(torch::kDouble));
  }
  return h.abs();
}

/// Whole numbers, of which every sum is exact in float32, so that nothing depends on its order; bfloat16
/// rounds sums above 256.
torch::Tensor whole_numbers(at::IntArrayRef shape) {
  return torch::randint(-9, 10, shape).to(torch::kFloat);
}

std::vector<torch::Tensor> whole_router(const std::vector<int64_t>& widths) {
  std::vector<torch::Tensor> weights;
  for (size_t i = 1; i < widths.size(); ++i) weights.push_back(whole_numbers({widths[i], widths[i - 1]}));
  return weights;
}

/// At least half of the row's best.
struct HalfOfBest {
  int64_t experts;
  void operator()(const float* scores, bool* mask) const {
    const float best = *std::max_element(scores, scores + experts);
    for (int64_t e = 0; e < experts; ++e) mask[e] = scores[e] >= 0.5f * best && scores[e] > 0;
  }
};

/// How far a float32 kernel's scores may be from expected_scores, [N, E]. An addition rounds by at most
/// u = 2^-24 of the partial sum that it makes, and so does a product of itself. Where the n terms of a sum
/// are of random signs, a partial sum's square is in the mean at most that of the whole plus the squares of
/// the terms; so, rounding errors being independent, the error of the sum has at most the variance
///   u^2 (n + 1) (sum^2 + sum of the terms' squares),
/// to which come the variances of its inputs times the squares of their weights; ReLU and magnitude add none.
/// Six standard deviations: 2 exp(-6^2 / 2) = 3e-8 of the elements may be outside (Hoeffding).
torch::Tensor score_bound(const torch::Tensor& x, const std::vector<torch::Tensor>& weights) {
  torch::Tensor h = x.to(torch::kDouble), variance = torch::zeros_like(h);
  for (const auto& weight : weights) {
    const auto w = weight.to(torch::kDouble), squares = w.square();
    const auto sums = torch::linear(h, w);
    const double unit = test::kFloatUnit * test::kFloatUnit * static_cast<double>(w.size(1) + 1);
    variance = torch::linear(variance, squares) + unit * (sums.square() + torch::linear(h.square(), squares));
    h = torch::relu(sums);
  }
  return 6 * variance.sqrt() + 1e-30;
}

void check_route(const torch::Tensor& x, const std::vector<torch::Tensor>& weights, int64_t shared) {
  const auto packed = pack_router(weights, x.scalar_type());
  const int64_t routed = weights.back().size(0);
  const HalfOfBest rule{routed};
  const Routing got = route(x, packed, shared, rule);
  const auto want = expected_scores(x, weights);
  REQUIRE(got.scores.sizes() == std::vector<int64_t>{x.size(0), shared + routed});
  REQUIRE(got.mask.sizes() == got.scores.sizes());
  const auto mine = got.scores.narrow(1, shared, routed).contiguous();
  if (x.scalar_type() == torch::kBFloat16)
    CHECK(torch::equal(mine, want.to(torch::kFloat)));  // whole numbers
  else
    CHECK(test::outside(mine, want, score_bound(x, weights)) == "");
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

/// kernels::route by the AMX kernel on emulated tiles, without shared experts.
Routing route_in_tiles(const torch::Tensor& x, const PackedRouter& packed, MarkRow mark) {
  std::vector<cpu::RouteLayer> layers;
  for (const auto& layer : packed.layers)
    layers.push_back({layer.panels.const_data_ptr(), layer.inputs, layer.outputs});
  Routing out{torch::empty({x.size(0), packed.experts()}),
              torch::empty({x.size(0), packed.experts()}, torch::kBool)};
  cpu::RouteArgs args;
  args.x = x.const_data_ptr(), args.bfloat16 = true, args.rows = x.size(0), args.x_stride = x.stride(0);
  args.layers = layers.data(), args.depth = static_cast<int64_t>(layers.size()),
  args.experts = packed.experts();
  args.scores = out.scores.data_ptr<float>(), args.mask = out.mask.data_ptr<bool>();
  const cpu::RouteCount count = cpu::route_bf16(args, mark, test::kEmulatedAmx);
  out.pairs = count.pairs, out.usable = count.usable;
  return out;
}

using Run = Routing (*)(const torch::Tensor&, const PackedRouter&, MarkRow);
Routing run_route(const torch::Tensor& x, const PackedRouter& packed, MarkRow mark) {
  return route(x, packed, 0, mark);
}

/// Calls f(dtype, run) for both dtypes in every instruction set of this processor, and for emulated tiles.
template <class F>
void for_each_kernel(const F& f) {
  for (const cpu::Isa isa : cpu::available_isas()) {
    INFO(cpu::isa_name(isa));
    const test::ScopedEnv chosen("D2DMOE_ISA", cpu::isa_name(isa).data());
    f(torch::kFloat, run_route);
    f(torch::kBFloat16, run_route);
  }
  INFO("emulated tiles");
  f(torch::kBFloat16, route_in_tiles);
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

TEST_CASE("route: bfloat16 rows of every size, in every instruction set of this processor") {
  torch::manual_seed(22);
  for (const cpu::Isa isa : cpu::available_isas()) {
    INFO(cpu::isa_name(isa));
    const test::ScopedEnv chosen("D2DMOE_ISA", cpu::isa_name(isa).data());
    for (const int64_t rows : {0, 1, 2, 5, 11, 12, 13, 24, 31, 95, 97, 230})
      for (const std::vector<int64_t>& widths :
           {std::vector<int64_t>{33, 40, 15}, {384, 128, 64}, {64, 33}, {1, 1, 1}, {1024, 31, 65, 33}}) {
        INFO("rows " << rows << ", d " << widths[0] << ", experts " << widths.back());
        check_route(whole_numbers({rows, widths[0]}).to(torch::kBFloat16), whole_router(widths), rows % 3);
      }
  }
}

TEST_CASE("route: bfloat16 rows in tiles, emulated") {
  torch::manual_seed(29);
  for (const int64_t rows : {1, 12, 13, 40, 230})
    for (const std::vector<int64_t>& widths : {std::vector<int64_t>{33, 40, 15}, {384, 128, 64}}) {
      const auto x = whole_numbers({rows, widths[0]}).to(torch::kBFloat16);
      const auto weights = whole_router(widths);
      const Routing got =
          route_in_tiles(x, pack_router(weights, torch::kBFloat16), HalfOfBest{widths.back()});
      CHECK(got.usable);
      CHECK(torch::equal(got.scores, expected_scores(x, weights).to(torch::kFloat)));
    }
}

TEST_CASE("route: weights are rounded for bfloat16 rows") {
  torch::manual_seed(27);
  const auto weights = random_router({48, 32, 12});
  std::vector<torch::Tensor> rounded;
  for (const auto& w : weights) rounded.push_back(w.to(torch::kBFloat16).to(torch::kFloat));
  const auto x = torch::randn({40, 48}).to(torch::kBFloat16);
  const HalfOfBest rule{12};
  CHECK(torch::equal(route(x, pack_router(weights, torch::kBFloat16), 0, rule).scores,
                     route(x, pack_router(rounded, torch::kBFloat16), 0, rule).scores));
}

TEST_CASE("route: rows that stand apart") {
  torch::manual_seed(28);
  for (const int64_t inputs : {48, 64}) {  // bfloat16 rows of 64 are read where they lie
    const auto weights = random_router({inputs, 32, 12});
    const HalfOfBest rule{12};
    for_each_kernel([&](torch::ScalarType type, Run run) {
      const auto packed = pack_router(weights, type);
      for (const int64_t rows : {2, 70, 230}) {
        const auto wide = torch::randn({rows * 2, inputs + 12}).to(type);
        const auto apart = wide.slice(0, 0, 2 * rows, 2).slice(1, 5, 5 + inputs);
        CHECK(torch::equal(run(apart, packed, rule).scores, run(apart.contiguous(), packed, rule).scores));
      }
      const auto columns = torch::randn({inputs, 70}).to(type).t();
      CHECK(torch::equal(route(columns, packed, 0, rule).scores,
                         route(columns.contiguous(), packed, 0, rule).scores));
    });
  }
}

TEST_CASE("route: a row's bytes depend neither on its neighbours nor on the number of threads") {
  torch::manual_seed(23);
  const int threads = torch::get_num_threads();
  const auto weights = random_router({1408, 416, 24});  // wide enough for a second thread at one row
  const HalfOfBest rule{24};
  const auto rows = torch::randn({203, 1408});
  for_each_kernel([&](torch::ScalarType type, Run run) {
    const auto packed = pack_router(weights, type);
    const auto x = rows.to(type);
    torch::set_num_threads(1);
    const auto one = run(x, packed, rule).scores;
    for (const int count : {2, 3}) {
      torch::set_num_threads(count);
      CHECK(torch::equal(run(x, packed, rule).scores, one));
      for (const auto& [first, n] : {std::pair<int64_t, int64_t>{0, 1}, {57, 1}, {11, 6}, {90, 8}, {100, 30}})
        CHECK(torch::equal(run(x.narrow(0, first, n), packed, rule).scores, one.narrow(0, first, n)));
    }
  });
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
  const auto weights = random_router({20, 16, 5});
  const HalfOfBest rule{5};
  for_each_kernel([&](torch::ScalarType type, Run run) {
    const auto packed = pack_router(weights, type);
    for (const int64_t rows : {1, 40})
      for (const float bad :
           {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity()}) {
        auto x = torch::randn({rows, 20}).to(type);
        CHECK(run(x, packed, rule).usable);
        x[rows - 1][7] = bad;
        const Routing got = run(x, packed, rule);
        CHECK_FALSE(got.usable);
        if (rows > 1)  // the other rows have theirs
          CHECK(torch::isfinite(got.scores.narrow(0, 0, rows - 1)).all().item<bool>());
      }
  });
}

TEST_CASE("route: an infinity that the ReLU takes away is none") {
  torch::manual_seed(26);
  auto weights = random_router({20, 17, 5});  // not a whole panel
  weights[0].select(1, 7).fill_(-1);
  const HalfOfBest rule{5};
  for_each_kernel([&](torch::ScalarType type, Run run) {
    for (const int64_t rows : {1, 40}) {
      auto x = torch::randn({rows, 20}).to(type);
      x.select(1, 7).fill_(std::numeric_limits<float>::infinity());
      const Routing got = run(x, pack_router(weights, type), rule);
      CHECK(got.usable);
      CHECK(torch::equal(got.scores, torch::zeros({rows, 5})));
    }
  });
}

TEST_CASE("route: what is refused") {
  const auto router = random_router({20, 16, 5});
  const auto packed = pack_router(router, torch::kFloat);
  const HalfOfBest rule{5};
  const auto refused = [&](const torch::Tensor& x, int64_t shared = 0) {
    return test::message_of([&] { route(x, packed, shared, rule); });
  };
  CHECK(test::contains(refused(torch::ones({3, 19})), "must be [rows, 20]"));
  CHECK(test::contains(refused(torch::ones({20})), "must be [rows, 20]"));
  CHECK(test::contains(refused(torch::ones({3, 20}, torch::kDouble)), "must be float32"));
  CHECK(test::contains(refused(torch::ones({3, 20}, torch::kBFloat16)), "must be float32"));
  CHECK(test::contains(test::message_of([&] {
                         route(torch::ones({3, 20}), pack_router(router, torch::kBFloat16), 0, rule);
                       }),
                       "must be bfloat16"));
  CHECK(test::contains(refused(torch::ones({3, 20}), -1), "'shared'"));
  CHECK(test::contains(test::message_of([&] { pack_router({}, torch::kFloat); }), "no layer"));
  CHECK(test::contains(test::message_of([&] { pack_router(router, torch::kHalf); }), "'dtype'"));
  CHECK(test::contains(test::message_of([&] {
                         pack_router({router[0], router[0]}, torch::kFloat);
                       }),
                       "must be 16"));
  CHECK(test::contains(test::message_of([&] { pack_router({router[0].to(torch::kHalf)}, torch::kFloat); }),
                       "float32"));
}
