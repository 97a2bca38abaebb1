#include "d2dmoe/kernels/cpu/micro.h"
#include "kernels/mlp_cases.h"

using namespace d2dmoe;
using namespace d2dmoe::kernels;
using test::MlpCase;

namespace {

// In double precision, in forms that keep the digits of the tails.
torch::Tensor exact(const torch::Tensor& z, Activation activation) {
  switch (activation) {
    case Activation::relu:
      return torch::relu(z);
    case Activation::gelu_erf:
      return 0.5 * z * torch::erfc(-z * M_SQRT1_2);
    case Activation::gelu_tanh:
      return z * torch::sigmoid(2 * std::sqrt(2 / M_PI) * (z + 0.044715 * z.pow(3)));
    case Activation::silu:
      return z * torch::sigmoid(z);
    case Activation::tanh:
      return torch::tanh(z);
  }
  return {};
}

}  // namespace

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

TEST_CASE("isa: activations are as exact as float32 allows, gated or not") {
  int count = 0;
  const cpu::Micro* const* sets = cpu::available_micros(&count);
  // Both signs, 1e-12 … 90; the count is no multiple of a vector's width.
  const auto size = torch::logspace(-12, 1.954, 20001, 10, torch::kDouble);
  const auto z = torch::cat({size, -size}).to(torch::kFloat);
  const auto u = torch::linspace(-2, 3, z.numel());
  for (int i = 0; i < count; ++i)
    for (const Activation a : test::kActivations) {
      INFO(sets[i]->name << ": " << activation_name(a));
      const auto want = exact(z.to(torch::kDouble), a);
      auto h = z.clone();
      sets[i]->activate(h.data_ptr<float>(), nullptr, h.numel(), a);
      const auto error = (h.to(torch::kDouble) - want).abs();
      // In the far tails the argument of the exponential is itself rounded: there only |z| bounds the error.
      CHECK((error / z.abs()).max().item<double>() < 4e-7);
      const auto near = z.abs() < 4;
      CHECK((error / want.abs()).masked_select(near & (want != 0)).max().item<double>() < 2e-6);
      auto gated = z.clone();
      sets[i]->activate(gated.data_ptr<float>(), u.data_ptr<float>(), gated.numel(), a);
      CHECK(torch::equal(gated, h * u));
    }
}

TEST_CASE("isa: activations of NaN, infinities, zeros and what overflows are PyTorch's") {
  int count = 0;
  const cpu::Micro* const* sets = cpu::available_micros(&count);
  const float infinity = std::numeric_limits<float>::infinity();
  const auto z = torch::tensor({NAN, infinity, -infinity, 0.0f, -0.0f, 1e20f, -1e20f, 3e38f, -3e38f, 1e-40f});
  for (int i = 0; i < count; ++i)
    for (const Activation a : test::kActivations) {
      INFO(sets[i]->name << ": " << activation_name(a));
      auto h = z.clone();
      sets[i]->activate(h.data_ptr<float>(), nullptr, h.numel(), a);
      // Of double: PyTorch's vectorised float32 gelu makes NaN of infinity.
      const auto want = activate(z.to(torch::kDouble), a).to(torch::kFloat);
      CHECK(torch::allclose(h, want, 1e-6, 1e-40, /*equal_nan=*/true));
    }
}

TEST_CASE("isa: the bytes depend neither on threads nor on which rows come along") {
  torch::manual_seed(15);
  int count = 0;
  const cpu::Micro* const* sets = cpu::available_micros(&count);
  const int threads = torch::get_num_threads();
  // Widths that are cut into columns for several threads; rows that make tiles and single rows.
  for (const MlpCase& c :
       {MlpCase{.rows = 70, .d_in = 100, .size = 24, .experts = 9, .d_out = 401},
        MlpCase{.rows = 70, .d_in = 64, .size = 130, .experts = 3, .d_out = 288, .gated = true},
        MlpCase{.rows = 400, .size = 8, .experts = 6, .activation = Activation::gelu_erf}}) {
    auto w = test::random_weights(c);
    // A quarter of the activations is not 0: some calls go by experts, some by active neurons.
    if (c.activation == Activation::relu && !c.gated) w.b1.fill_(-0.67);
    const auto x = torch::randn({c.rows, c.d_in});
    auto mask = test::random_mask(c, 0.3);
    mask.select(1, 1).fill_(true);  // one expert has most of the work
    for (int i = 0; i < count; ++i) {
      INFO(sets[i]->name << ": " << c.text());
      const test::ScopedEnv isa("D2DMOE_ISA", sets[i]->name);
      torch::set_num_threads(1);
      const auto one = expert_mlp(x, mask, w);
      CHECK(test::difference(one, masked_dense_mlp(x, mask, w), test::rounding_bound(x, w)) == "");
      for (const int n : {2, 3, 5, 16}) {
        torch::set_num_threads(n);
        CHECK(torch::equal(expert_mlp(x, mask, w), one));
      }
      torch::set_num_threads(threads);
      for (const int64_t rows : {1, 2, 3, 7, 33})
        for (const int64_t first : {int64_t{0}, int64_t{31}, c.rows - rows}) {
          const auto some = [&](const torch::Tensor& t) { return t.slice(0, first, first + rows); };
          CHECK(torch::equal(expert_mlp(some(x), some(mask), w), some(one)));
        }
    }
  }
}

TEST_CASE("isa: NaN of a hidden neuron reaches its row, by any grouping of rows") {
  torch::manual_seed(16);
  int count = 0;
  const cpu::Micro* const* sets = cpu::available_micros(&count);
  const MlpCase c{.rows = 20, .d_in = 32, .size = 24, .experts = 4, .d_out = 64};
  auto w = test::random_weights(c);
  w.b1.fill_(-100);  // every activation is 0, but for the broken neuron
  w.b1[30] = NAN;
  const auto mask = torch::ones({c.rows, c.experts}, torch::kBool);
  for (int i = 0; i < count; ++i) {
    const test::ScopedEnv isa("D2DMOE_ISA", sets[i]->name);
    INFO(sets[i]->name);
    for (const int64_t rows : {1, 2, 5, 20}) {
      const auto x = torch::randn({rows, c.d_in});
      CHECK(expert_mlp(x, mask.slice(0, 0, rows), w).isnan().all().item<bool>());
    }
  }
}
