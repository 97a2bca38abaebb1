// The route kernel's text, run on the CPU (tests/kernels/simt): its scores against PyTorch's products, its
// choices against the rules of selection.cpp, on the scores that the kernel made.
#include "d2dmoe/moe/device_route.h"
#include "d2dmoe/moe/selection.h"
#include "kernels/cuda_emulated.h"

using namespace d2dmoe;
using kernels::cuda::RouteArgs;
using kernels::cuda::RouteRule;

namespace {

struct Rule {
  RouteRule rule;
  const char* name;
  double value;
};

RouteArgs args_of(const Rule& rule, float floor = 0, int64_t shared = 0) {
  RouteArgs args;
  args.rule = rule.rule, args.value = rule.value, args.floor = floor, args.shared = shared;
  return args;
}

std::vector<torch::Tensor> random_router(int64_t d_in, int64_t width, int64_t depth, int64_t experts) {
  std::vector<torch::Tensor> weights;
  for (int64_t i = 0; i < depth; ++i) {
    const int64_t in = i == 0 ? d_in : width, out = i == depth - 1 ? experts : width;
    weights.push_back(torch::randn({out, in}) / std::sqrt(static_cast<double>(in)));
  }
  return weights;
}

torch::Tensor scores_of(const torch::Tensor& x, const std::vector<torch::Tensor>& weights) {
  auto h = x.to(torch::kDouble);
  for (size_t i = 0; i < weights.size(); ++i) {
    if (i > 0) h = torch::relu(h);
    h = torch::linear(h, weights[i].to(torch::kDouble));
  }
  return h.abs();
}

// Scores as wanted; the choice as select's on the very scores that the kernel made.
void check_case(const torch::Tensor& x, const std::vector<torch::Tensor>& weights, const Rule& rule,
                float floor = 0) {
  INFO(rule.name << " " << rule.value << ", floor " << floor << ", x " << x.sizes() << " of "
                 << c10::toString(x.scalar_type()) << ", " << weights.size() << " layers, "
                 << weights.back().size(0) << " experts");
  const auto routing = test::emulated_route(x, weights, args_of(rule, floor));
  CHECK(test::difference(routing.scores.to(torch::kDouble), scores_of(x, weights), 1e-4) == "");
  const auto want = moe::select(routing.scores, {rule.name, rule.value, floor}, 1);
  CHECK(torch::equal(routing.mask, want));
}

const std::vector<Rule> kRules = {{RouteRule::dynamic_k, "dynamic_k", 0},
                                  {RouteRule::dynamic_k, "dynamic_k", 0.4},
                                  {RouteRule::dynamic_k, "dynamic_k", 1},
                                  {RouteRule::cumulative, "cumulative", 0},
                                  {RouteRule::cumulative, "cumulative", 0.5},
                                  {RouteRule::cumulative, "cumulative", 0.9},
                                  {RouteRule::top_k, "top_k", 1},
                                  {RouteRule::top_k, "top_k", 3}};

}  // namespace

TEST_CASE("cuda route: emulated, scores and every rule") {
  torch::manual_seed(51);
  const auto weights = random_router(40, 24, 2, 19);
  for (const auto type : {torch::kFloat, torch::kBFloat16, torch::kHalf}) {
    const auto x = torch::randn({37, 40}).to(type);
    for (const Rule& rule : kRules)
      for (const float floor : {0.0f, 0.5f, 100.0f}) check_case(x, weights, rule, floor);
    check_case(x, weights, {RouteRule::top_k, "top_k", 19});
  }
}

TEST_CASE("cuda route: emulated, sizes around tiles, one to four layers") {
  torch::manual_seed(52);
  for (const int64_t depth : {1, 2, 3, 4})
    for (const int64_t rows : {0, 1, 33})
      for (const int64_t d_in : {1, 16, 35})
        check_case(torch::randn({rows, d_in}), random_router(d_in, 17, depth, 33), kRules[1]);
  for (const int64_t experts : {1, 512, 513, 1024})
    for (const Rule& rule : {kRules[1], kRules[4], kRules[6]})
      check_case(torch::randn({18, 8}), random_router(8, 8, 2, experts), rule);
}

TEST_CASE("cuda route: emulated, equal scores and rows of zeros") {
  torch::manual_seed(53);
  // Whole numbers: scores are exact and often equal; a row of zeros has none above 0.
  const auto x = torch::randint(-2, 3, {40, 12}).to(torch::kFloat);
  x[7].zero_();
  const std::vector<torch::Tensor> weights = {torch::randint(-1, 2, {70, 12}).to(torch::kFloat)};
  for (const double k : {1, 2, 5, 40, 69, 70}) check_case(x, weights, {RouteRule::top_k, "top_k", k});
  for (const double p : {0.0, 0.1, 0.5, 0.99, 1.0})
    check_case(x, weights, {RouteRule::cumulative, "cumulative", p});
  for (const double tau : {0.0, 0.5, 1.0}) check_case(x, weights, {RouteRule::dynamic_k, "dynamic_k", tau});
}

TEST_CASE("cuda route: emulated, shared experts run always and carry the row's largest score") {
  torch::manual_seed(54);
  const auto x = torch::randn({20, 16});
  const auto weights = random_router(16, 8, 2, 9);
  const auto alone = test::emulated_route(x, weights, args_of(kRules[1]));
  const auto with = test::emulated_route(x, weights, args_of(kRules[1], 0, 3));
  CHECK(torch::equal(with.scores.slice(1, 3), alone.scores));
  CHECK(torch::equal(with.mask.slice(1, 3), alone.mask));
  CHECK(with.mask.slice(1, 0, 3).all().item<bool>());
  CHECK(torch::equal(with.scores.slice(1, 0, 3), alone.scores.amax(1, true).expand({20, 3})));
}

TEST_CASE("cuda route: emulated, a row that is not finite runs the shared experts only") {
  torch::manual_seed(55);
  const auto weights = random_router(16, 8, 2, 9);
  for (const Rule& rule : {kRules[1], kRules[4], kRules[7]})
    for (const float bad : {NAN, INFINITY}) {
      auto x = torch::randn({5, 16});
      x[2][3] = bad;
      const auto got = test::emulated_route(x, weights, args_of(rule, 0, 2));
      CHECK(got.mask[2].sum().item<int64_t>() == 2);
      CHECK(got.scores[2].isfinite().logical_not().any().item<bool>());
      x[2].zero_();
      const auto good = test::emulated_route(x, weights, args_of(rule, 0, 2));
      for (const int64_t n : {0, 1, 3, 4}) CHECK(torch::equal(got.mask[n], good.mask[n]));
    }
}

TEST_CASE("cuda route: sizes that do not fit are known before") {
  RouteArgs args;
  args.depth = 2, args.width = 128, args.experts = 64, args.d_in = 768;
  CHECK(test::emulated_route_fits(args));
  for (const auto& change : std::vector<std::function<void(RouteArgs&)>>{
           [](RouteArgs& a) { a.depth = 0; }, [](RouteArgs& a) { a.depth = 5; },
           [](RouteArgs& a) { a.width = 65536; }, [](RouteArgs& a) { a.experts = 1025; },
           [](RouteArgs& a) { a.shared = 64; }}) {
    RouteArgs other = args;
    change(other);
    CHECK_FALSE(test::emulated_route_fits(other));
  }
  args.width = 65536, args.depth = 1;  // there is no hidden layer
  CHECK(test::emulated_route_fits(args));
}

TEST_CASE("cuda route: emulated, blocks with little shared memory") {
  torch::manual_seed(57);
  const int before = simt::most_shared_bytes();
  simt::set_most_shared_bytes(99 * 1024);
  for (const int64_t experts : {64, 512, 1024})
    check_case(torch::randn({18, 8}), random_router(8, 8, 2, experts), kRules[1]);
  check_case(torch::randn({1100, 8}), random_router(8, 8, 2, 5), kRules[1]);
  simt::set_most_shared_bytes(64 * 1024);
  RouteArgs args;
  args.depth = 2, args.width = 128, args.experts = 1024, args.d_in = 8;
  CHECK_FALSE(test::emulated_route_fits(args));
  simt::set_most_shared_bytes(before);
  CHECK(test::emulated_route_fits(args));
}

TEST_CASE("cuda route: emulated, tiles of every size give a row the same bytes") {
  torch::manual_seed(58);
  struct Case {
    torch::ScalarType type;
    int64_t d_in, rows;
  };
  for (const Case& c : {Case{torch::kFloat, 40, 1100}, Case{torch::kHalf, 33, 8300},
                        Case{torch::kBFloat16, 33, 1100}, Case{torch::kBFloat16, 40, 8300}}) {
    const auto weights = random_router(c.d_in, c.d_in % 2 == 0 ? 20 : 11, 3, 5);
    // Rows that lie apart; what is between them is NaN.
    auto wide = torch::full({c.rows, c.d_in + 8}, NAN);
    wide.slice(1, 0, c.d_in).copy_(torch::randn({c.rows, c.d_in}));
    const auto x = wide.to(c.type).slice(1, 0, c.d_in);
    const auto all = test::emulated_route(x, weights, args_of(kRules[1]));
    CHECK(test::difference(all.scores.to(torch::kDouble), scores_of(x, weights), 1e-4) == "");
    for (const int64_t rows : {1, 100, 300}) {
      const auto some = test::emulated_route(x.slice(0, 700, 700 + rows), weights, args_of(kRules[1]));
      CHECK(torch::equal(some.scores, all.scores.slice(0, 700, 700 + rows)));
    }
  }
}

TEST_CASE("route_on_device: nothing where there is no device") {
  const torch::NoGradGuard no_grad;
  const moe::Router router(16, 8, 2, 9, 1);
  CHECK_FALSE(moe::route_on_device(torch::randn({3, 16}), router, {"dynamic_k", 0.5, 0}, 0, 1).has_value());
}

TEST_CASE("route_on_device: tiles of every size, layers, shared experts, rows that lie apart",
          "[cuda][small]") {
  if (!test::on_a_device()) return;
  const torch::NoGradGuard no_grad;
  torch::manual_seed(57);
  for (const auto type : {torch::kFloat, torch::kBFloat16, torch::kHalf})
    for (const int64_t rows : {1, 300, 1100, 8300})
      for (const int64_t d_in : {96, 33})
        for (const int64_t depth : {1, 2, 4})
          for (const int64_t shared : {0, 2}) {
            INFO(c10::toString(type) << ", " << rows << " rows of " << d_in << ", " << depth << " layers, "
                                     << shared << " shared");
            moe::Router router(d_in, 40, depth, 20, 1);
            router.to(torch::kCUDA);
            const auto x = torch::randn({rows, d_in + 8}, torch::kCUDA).to(type).slice(1, 0, d_in);
            const moe::Selection selection{"dynamic_k", 0.5, 0};
            const auto got = moe::route_on_device(x, router, selection, shared, 1);
            REQUIRE(got.has_value());
            const auto scores = got->scores.slice(1, shared).cpu();
            CHECK(test::difference(scores, router.forward(x).cpu(), 1e-4) == "");
            const auto chosen = moe::select(scores.contiguous(), selection, 1);
            CHECK(torch::equal(got->mask.slice(1, shared).cpu(), chosen));
            CHECK(got->mask.slice(1, 0, shared).all().item<bool>());
          }
}

TEST_CASE("route_on_device: decides as router and rule one after the other", "[cuda][small]") {
  if (!test::on_a_device()) return;
  const torch::NoGradGuard no_grad;
  torch::manual_seed(56);
  moe::Router router(96, 32, 2, 40, 1);
  router.to(torch::kCUDA);
  for (const auto type : {torch::kFloat, torch::kBFloat16, torch::kHalf})
    for (const Rule& rule : kRules) {
      const auto x = torch::randn({77, 96}, torch::kCUDA).to(type);
      const moe::Selection selection{rule.name, rule.value, 0.1};
      const auto got = moe::route_on_device(x, router, selection, 0, 1);
      REQUIRE(got.has_value());
      CHECK(test::difference(got->scores.cpu(), router.forward(x).cpu(), 1e-4) == "");
      CHECK(torch::equal(got->mask.cpu(), moe::select(got->scores.cpu(), selection, 1)));
    }
}
