#include "kernels/mlp_cases.h"

using namespace d2dmoe;
using namespace d2dmoe::kernels;
using test::contains;

namespace {

const test::MlpCase kCase{.rows = 4, .d_in = 6, .size = 3, .experts = 2, .d_out = 5, .gated = true};

// The message of expert_mlp after `damage` changed one thing.
template <class F>
std::string message(F damage) {
  auto x = torch::randn({kCase.rows, kCase.d_in});
  auto mask = torch::ones({kCase.rows, kCase.experts}, torch::kBool);
  auto w = test::random_weights(kCase);
  damage(x, mask, w);
  return test::message_of([&] { expert_mlp(x, mask, w); });
}

}  // namespace

TEST_CASE("expert_mlp checks: what fits is taken") {
  CHECK(message([](auto&, auto&, auto&) {}) == "");
}

TEST_CASE("expert_mlp checks: each operand that does not fit is named") {
  struct Damage {
    std::string name, part;
    std::function<void(torch::Tensor&, torch::Tensor&, MlpWeights&)> apply;
  };
  const std::vector<Damage> all = {
      {"'x'", "[rows, d_in]", [](auto& x, auto&, auto&) { x = x.flatten(); }},
      {"'x'", "nothing", [](auto& x, auto&, auto&) { x = torch::Tensor(); }},
      {"'x'", "floating", [](auto& x, auto&, auto&) { x = x.to(torch::kInt); }},
      {"'w1'", "[6, 7]",
       [](auto& x, auto&, auto&) {
         x = torch::randn({4, 7});
       }},
      {"'w1'", "Double", [](auto& x, auto&, auto&) { x = x.to(torch::kDouble); }},
      {"'w1'", "[hidden, d_in]", [](auto&, auto&, auto& w) { w.w1 = torch::Tensor(); }},
      {"'w2t'", "[7, 5]",
       [](auto&, auto&, auto& w) {
         w.w2t = torch::randn({7, 5});
       }},
      {"'w2t'", "BFloat16", [](auto&, auto&, auto& w) { w.w2t = w.w2t.to(torch::kBFloat16); }},
      {"'wu'", "[6, 6]",
       [](auto&, auto&, auto& w) {
         w.wu = torch::randn({5, 6});
       }},
      {"'bu'", "no wu", [](auto&, auto&, auto& w) { w.wu = torch::Tensor(); }},
      {"'b1'", "[5]", [](auto&, auto&, auto& w) { w.b1 = torch::randn({5}); }},
      {"'b2'", "[6]", [](auto&, auto&, auto& w) { w.b2 = torch::randn({6}); }},
      {"'mask'", "bool", [](auto&, auto& mask, auto&) { mask = mask.to(torch::kFloat); }},
      {"'mask'", "[3, 2]", [](auto&, auto& mask, auto&) { mask = mask.slice(0, 0, 3); }},
      {"'mask'", "divisor",
       [](auto&, auto& mask, auto&) {
         mask = torch::ones({4, 4}, torch::kBool);
       }},
      {"'mask'", "divisor",
       [](auto&, auto& mask, auto&) {
         mask = torch::ones({4, 0}, torch::kBool);
       }},
      {"'mask'", "nothing", [](auto&, auto& mask, auto&) { mask = torch::Tensor(); }},
  };
  for (const Damage& damage : all) {
    const std::string text = message(damage.apply);
    INFO(text);
    CHECK(contains(text, "[expert_mlp]"));
    CHECK(contains(text, damage.name));
    CHECK(contains(text, damage.part));
  }
}
