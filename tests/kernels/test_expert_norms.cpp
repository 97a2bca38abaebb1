#include "kernels/mlp_cases.h"

using namespace d2dmoe;
using namespace d2dmoe::kernels;
using test::MlpCase;

namespace {
MlpWeights zero_w1(const torch::Tensor& w2t) {
  MlpWeights w;
  w.w1 = torch::zeros({w2t.size(0), 2});
  w.w2t = w2t;
  return w;
}
}  // namespace

TEST_CASE("expert_norms: the norm of each expert's own output") {
  torch::manual_seed(18);
  for (const MlpCase& c : {MlpCase{}, MlpCase{.rows = 1, .size = 1, .experts = 3}, MlpCase{.rows = 0},
                           MlpCase{.rows = 9, .size = 5, .experts = 1}}) {
    INFO(c.text());
    const auto w = test::random_weights(c);
    const auto h = torch::relu(torch::randn({c.rows, c.size * c.experts}));
    const auto grams = expert_grams(w, c.experts);
    CHECK(grams.sizes() == torch::IntArrayRef({c.experts, c.size, c.size}));
    const auto norms = expert_norms(h, grams);
    REQUIRE(norms.sizes() == torch::IntArrayRef({c.rows, c.experts}));
    for (int64_t e = 0; e < c.experts; ++e) {
      const auto own = torch::matmul(h.slice(1, e * c.size, (e + 1) * c.size),
                                     w.w2t.slice(0, e * c.size, (e + 1) * c.size));
      CHECK(test::difference(norms.select(1, e), own.norm(2, 1), 1e-5, 1e-5) == "");
    }
  }
}

TEST_CASE(
    "expert_norms: few nonzeros (the skipping loop) or many (the batched product), float32 or bfloat16") {
  torch::manual_seed(21);
  for (const double zeros : {0.0, 0.5, 0.7, 0.95, 1.0})
    for (const auto dtype : {torch::kFloat32, torch::kBFloat16})
      for (const MlpCase& c :
           {MlpCase{.rows = 70, .size = 24, .experts = 5}, MlpCase{.rows = 3, .size = 7, .experts = 3}}) {
        INFO(c.text() << ", zeros " << zeros);
        const auto w = test::random_weights(c);
        const auto values = torch::randn({c.rows, c.size * c.experts});
        const auto h = (values * torch::rand_like(values).ge(zeros)).to(dtype);
        const auto norms = expert_norms(h, expert_grams(w, c.experts));
        CHECK(norms.scalar_type() == torch::kFloat32);
        const auto wide = h.to(torch::kFloat64).view({c.rows, c.experts, c.size}).transpose(0, 1);
        const auto own = wide.bmm(w.w2t.to(torch::kFloat64).view({c.experts, c.size, -1}));
        CHECK(test::difference(norms, own.norm(2, 2).t().to(torch::kFloat32), 1e-4, 1e-4) == "");
      }
}

TEST_CASE("expert_norms: an expert without activity has norm exactly 0, and none is NaN") {
  torch::manual_seed(19);
  const MlpCase c{.size = 24, .experts = 2, .d_out = 3};  // rank 3 of 24: squares may round below 0
  const auto w = test::random_weights(c);
  auto h = torch::randn({500, 48});
  h.slice(1, 0, 24).zero_();
  const auto norms = expert_norms(h, expert_grams(w, 2));
  CHECK(norms.select(1, 0).eq(0).all().item<bool>());
  CHECK(norms.isfinite().all().item<bool>());
}

TEST_CASE("expert_norms: blocks of rows fit together") {
  torch::manual_seed(20);
  const auto w = zero_w1(torch::randn({1 << 12, 2}));
  const auto grams = expert_grams(w, 512);
  const auto h = torch::randn({2049, 1 << 12});  // a block is 2048 rows
  const auto norms = expert_norms(h, grams);
  CHECK(test::difference(norms.slice(0, 2047), expert_norms(h.slice(0, 2047), grams), 1e-6) == "");
}

TEST_CASE("expert_norms: shapes that do not fit are refused") {
  const auto w = zero_w1(torch::zeros({6, 2}));
  CHECK(test::contains(test::message_of([&] { expert_grams(w, 4); }), "divisor of the 6"));
  CHECK(test::contains(test::message_of([&] {
                         expert_norms(torch::zeros({2, 5}), expert_grams(w, 2));
                       }),
                       "[rows, 6]"));
  CHECK(test::contains(test::message_of([&] {
                         expert_norms(torch::zeros({2, 6}), torch::zeros({2, 3}));
                       }),
                       "'grams'"));
}
