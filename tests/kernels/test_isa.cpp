#include "d2dmoe/kernels/cpu/micro.h"
#include "kernels/mlp_cases.h"

using namespace d2dmoe;
using namespace d2dmoe::kernels;
using test::MlpCase;

TEST_CASE(
    "isa: every instruction set of this processor gives the reference's result, at any number of threads") {
  torch::manual_seed(14);
  int count = 0;
  const cpu::Micro* const* sets = cpu::available_micros(&count);
  REQUIRE(count >= 1);
  const int threads = torch::get_num_threads();
  for (int i = 0; i < count; ++i) {
    const test::ScopedEnv isa("D2DMOE_ISA", sets[i]->name);
    CHECK(std::string(cpu::micro().name) == sets[i]->name);
    for (const MlpCase& c :
         {MlpCase{.rows = 37, .d_in = 33, .size = 24, .experts = 5, .d_out = 33},
          MlpCase{.rows = 37, .d_in = 64, .size = 7, .experts = 9, .d_out = 200},
          MlpCase{.rows = 37, .size = 33, .activation = Activation::silu, .gated = true}}) {
      INFO(sets[i]->name << ": " << c.text());
      const auto w = test::random_weights(c);
      const auto x = torch::randn({c.rows, c.d_in});
      const auto mask = test::random_mask(c, 0.4);
      torch::set_num_threads(1);
      const auto y = expert_mlp(x, mask, w);
      torch::set_num_threads(2);
      CHECK(torch::equal(expert_mlp(x, mask, w), y));
      torch::set_num_threads(threads);
      CHECK(test::difference(y, expert_mlp_reference(x, mask, w), test::rounding_bound(x, w)) == "");
    }
  }
}

TEST_CASE("isa: D2DMOE_ISA that is not there is refused with the list") {
  const test::ScopedEnv isa("D2DMOE_ISA", "avx1024");
  const std::string message = test::message_of([] { cpu::micro(); });
  CHECK(test::contains(message, "'avx1024'"));
  CHECK(test::contains(message, "portable"));
}
