#include "d2dmoe/kernels/cpu/expert_mlp_bf16.h"

#include <cstring>

#include "d2dmoe/kernels/cpu/isa.h"
#include "d2dmoe/kernels/cpu/micro.h"
#include "kernels/emulated_amx.h"
#include "kernels/error_bounds.h"
#include "kernels/mlp_cases.h"

using namespace d2dmoe;
using namespace d2dmoe::kernels;
using test::in_double;
using test::MlpCase;
using test::outside;

namespace {

// A version of the kernel: an instruction set, with experts going through packed panels from so many rows on.
struct Version {
  std::string name;
  cpu::Bf16Micro micro;
};

// Every instruction set of this processor, and AMX emulated, each with all experts in one form and in the
// other.
std::vector<Version> versions() {
  std::vector<Version> list;
  const auto add = [&](const std::string& name, cpu::Bf16Micro micro) {
    micro.least_packed_rows = 1;
    list.push_back({name + ", packed", micro});
    micro.least_packed_rows = 1 << 20;
    list.push_back({name + ", by rows", micro});
  };
  for (const cpu::Isa isa : cpu::available_isas()) add(std::string(cpu::isa_name(isa)), cpu::bf16_micro(isa));
  add("emulated amx", test::kEmulatedAmx);
  return list;
}

struct Site {
  torch::Tensor x, mask;
  MlpWeights w;
};

torch::Tensor run(const Site& s, const cpu::Bf16Micro& micro) {
  const auto data = [](const torch::Tensor& t) { return t.defined() ? t.const_data_ptr() : nullptr; };
  const torch::Tensor mask = s.mask.contiguous();
  torch::Tensor y = torch::full({s.x.size(0), s.w.d_out()}, 77, s.x.options());
  ExpertMlpArgs args;
  args.x = data(s.x), args.w1 = data(s.w.w1), args.b1 = data(s.w.b1), args.wu = data(s.w.wu);
  args.bu = data(s.w.bu), args.w2t = data(s.w.w2t), args.b2 = data(s.w.b2), args.y = y.data_ptr();
  args.mask = reinterpret_cast<const uint8_t*>(mask.const_data_ptr<bool>());
  args.rows = s.x.size(0), args.x_stride = s.x.stride(0), args.d_in = s.x.size(1);
  args.hidden = s.w.hidden(), args.d_out = s.w.d_out(), args.experts = mask.size(1);
  args.activation = s.w.activation, args.element = Element::bfloat16;
  cpu::expert_mlp_bf16(args, micro);
  return y;
}

Site random_site(const MlpCase& c, double share) {
  return {torch::randn({c.rows, c.d_in}).to(torch::kBFloat16), test::random_mask(c, share),
          test::to_dtype(test::random_weights(c), torch::kBFloat16)};
}

// The readable reference in float64, from the bfloat16 values.
torch::Tensor exact(const Site& s) {
  return test::exact_expert_mlp(s.x, s.mask, s.w);
}

torch::Tensor error_bound(const Site& s) {
  return test::bf16_error_bound(s.x, s.mask, s.w);
}

void check_bounded(const Site& s, const std::string& about) {
  const auto want = exact(s), bound = error_bound(s);
  for (const Version& v : versions()) {
    INFO(v.name << ": " << about);
    CHECK(outside(run(s, v.micro), want, bound) == "");
  }
}

// Small integers: every sum is exact in bfloat16, so that one wrong index shows.
Site integer_site(const MlpCase& c, double share) {
  const int64_t hidden = c.size * c.experts;
  const auto few = [](at::IntArrayRef shape, double present) {
    return (torch::randint(-1, 2, shape) * torch::rand(shape).lt(present)).to(torch::kBFloat16);
  };
  Site s;
  s.x = few({c.rows, c.d_in}, 0.9);
  s.mask = test::random_mask(c, share);
  s.w.activation = Activation::relu;
  s.w.w1 = few({hidden, c.d_in}, std::min(0.9, 12.0 / static_cast<double>(c.d_in)));
  s.w.w2t = few({hidden, c.d_out}, std::min(0.9, 30.0 / static_cast<double>(hidden)));
  if (c.gated) s.w.wu = few({hidden, c.d_in}, std::min(0.9, 4.0 / static_cast<double>(c.d_in)));
  if (c.biases) {
    s.w.b1 = few({hidden}, 0.9), s.w.b2 = few({c.d_out}, 0.9);
    if (c.gated) s.w.bu = few({hidden}, 0.9);
  }
  return s;
}

void check_exact(const MlpCase& c) {
  for (const double share : {0.0, 0.3, 1.0}) {
    const Site s = integer_site(c, share);
    const auto want = exact(s);
    REQUIRE((want.numel() == 0 || want.abs().max().item<double>() <= 256));
    for (const Version& v : versions()) {
      INFO(v.name << ": " << c.text() << ", share " << share);
      CHECK(test::difference(run(s, v.micro), want.to(torch::kBFloat16), 0) == "");
    }
  }
}

}  // namespace

TEST_CASE("bf16: exact on small integers, for sizes around vectors and tiles") {
  torch::manual_seed(21);
  for (const int64_t rows : {0, 1, 2, 3, 4, 5, 13, 33})
    for (const int64_t size : {1, 3, 24, 33}) check_exact({.rows = rows, .size = size});
  for (const int64_t d : {1, 3, 8, 15, 16, 17, 31, 32, 33, 64, 65, 130})
    check_exact({.rows = 19, .d_in = d, .size = 5, .experts = 3, .d_out = d});
  check_exact({.rows = 50, .d_in = 20, .size = 6, .experts = 4, .d_out = 49});
  check_exact({.rows = 9, .size = 12, .experts = 1});
  check_exact({.rows = 40, .size = 2, .experts = 67});
  check_exact({.rows = 70, .d_in = 96, .size = 128, .experts = 2, .d_out = 96});
  check_exact({.rows = 33, .d_in = 40, .size = 24, .experts = 3, .d_out = 72, .gated = true});
}

TEST_CASE("bf16: more rows than a block, and one expert that all of them choose") {
  torch::manual_seed(22);
  MlpCase c{.rows = 2100, .d_in = 24, .size = 9, .experts = 5, .d_out = 40};
  check_exact(c);
  Site s = integer_site(c, 0.02);
  s.mask.select(1, 2).fill_(true);
  const auto want = exact(s).to(torch::kBFloat16);
  for (const Version& v : versions()) {
    INFO(v.name);
    CHECK(test::difference(run(s, v.micro), want, 0) == "");
  }
}

TEST_CASE("bf16: within the rounding of its formats for every activation, gated or not") {
  torch::manual_seed(23);
  for (const Activation a : test::kActivations)
    for (const bool gated : {false, true})
      for (const bool biases : {false, true}) {
        const MlpCase c{.rows = 29, .size = 33, .activation = a, .gated = gated, .biases = biases};
        for (const double share : {0.2, 1.0}) {
          Site s = random_site(c, share);
          s.x.slice(0, 0, 5).mul_(12);  // the activations' far ends
          check_bounded(s, c.text());
        }
      }
}

TEST_CASE("bf16: within the rounding of its formats for wide layers") {
  torch::manual_seed(24);
  const MlpCase c{.rows = 40, .d_in = 1024, .size = 40, .experts = 12, .d_out = 1024};
  check_bounded(random_site(c, 0.4), c.text());
}

TEST_CASE("bf16: expert_mlp takes this kernel, strided x and masks too; all experts are the dense layer") {
  torch::manual_seed(25);
  const MlpCase c{.rows = 50, .d_in = 96, .size = 24, .experts = 16, .d_out = 96};
  Site s = random_site(c, 1.0);
  const auto whole = torch::randn({c.rows * 2, c.d_in + 9}).to(torch::kBFloat16);
  s.x = whole.slice(0, 0, 2 * c.rows, 2).slice(1, 4, 4 + c.d_in);
  const auto y = expert_mlp(s.x, s.mask, s.w);
  CHECK(y.scalar_type() == torch::kBFloat16);
  CHECK(torch::equal(y, run(s, cpu::bf16_micro(cpu::isa()))));
  // The dense layer rounds h before the activation as well.
  const auto bound = error_bound(s);
  CHECK(outside(dense_mlp(s.x, s.w), in_double(y), 3 * bound) == "");
  s.mask = torch::rand({c.experts, c.rows}).lt(0.4).t();
  CHECK(outside(expert_mlp(s.x, s.mask, s.w), exact(s), error_bound(s)) == "");
  s.mask = torch::zeros({c.rows, c.experts}, torch::kBool);
  CHECK(torch::equal(expert_mlp(s.x, s.mask, s.w), s.w.b2.expand({c.rows, c.d_out})));
}

TEST_CASE("bf16: the bytes do not depend on the number of threads") {
  torch::manual_seed(26);
  const int threads = torch::get_num_threads();
  for (const int64_t rows : {1, 7, 260}) {
    const MlpCase c{.rows = rows,
                    .d_in = 200,
                    .size = 72,
                    .experts = 32,
                    .d_out = 200,
                    .activation = Activation::silu,
                    .gated = true};
    const Site s = random_site(c, 0.4);
    for (Version& v : versions()) {
      for (const int64_t least : {v.micro.least_packed_rows, int64_t{90}}) {  // 90: some of each form
        v.micro.least_packed_rows = least;
        INFO(v.name << ": " << c.text());
        torch::set_num_threads(1);
        const auto one = run(s, v.micro);
        for (const int count : {2, 3, 8}) {
          torch::set_num_threads(count);
          CHECK(torch::equal(run(s, v.micro), one));
        }
      }
      torch::set_num_threads(threads);
    }
  }
}

TEST_CASE("bf16: NaN and infinity of a row reach its executed experts and nothing else") {
  torch::manual_seed(27);
  const float infinity = std::numeric_limits<float>::infinity();
  for (const int64_t size : {24, 33})
    for (const Activation a : test::kActivations) {
      Site s = random_site({.rows = 6, .size = size, .experts = 4, .activation = a}, 1.0);
      s.x[1][3] = NAN;
      s.x[2][0] = infinity;
      s.x[3][32] = NAN;  // the odd element at the end
      s.x[4][32] = NAN;
      s.mask[3].fill_(false);
      for (const Version& v : versions()) {
        INFO(v.name << ": experts of " << size << ", " << activation_name(a));
        const auto y = run(s, v.micro);
        CHECK(y[1].isnan().all().item<bool>());
        CHECK(y[4].isnan().all().item<bool>());
        CHECK(torch::equal(y[3], s.w.b2));
        CHECK(y[0].isfinite().all().item<bool>());
        CHECK(y[5].isfinite().all().item<bool>());
        const bool bounded = a == Activation::tanh;  // an infinity becomes 1
        CHECK(y[2].isfinite().all().item<bool>() == bounded);
        CHECK(torch::equal(y[2].isfinite(), dense_mlp(s.x, s.w)[2].isfinite()));
      }
    }
}

TEST_CASE("bf16: zeros in the hidden layer, from none to all") {
  torch::manual_seed(28);
  const MlpCase c{.rows = 9, .d_in = 48, .size = 24, .experts = 8, .d_out = 80};
  for (const double bias : {-8.0, -1.0, -0.5, 0.5, 8.0}) {
    Site s = random_site(c, 0.3);
    s.w.b1.fill_(bias);
    check_bounded(s, "bias " + std::to_string(bias));
  }
}

TEST_CASE("bf16: activations against LibTorch's in float64, over their whole range") {
  // One neuron of weight 1 per row: y is the rounded activation.
  const auto z =
      torch::cat({torch::linspace(-30, 30, 4001), torch::logspace(-8, 0, 200)}).to(torch::kBFloat16);
  Site s;
  s.x = z.unsqueeze(1);
  s.mask = torch::ones({z.size(0), 1}, torch::kBool);
  s.w.w1 = torch::ones({1, 1}, torch::kBFloat16), s.w.w2t = s.w.w1;
  for (const Activation a : test::kActivations) {
    s.w.activation = a;
    const auto want = activate(in_double(s.x), a);
    // Half a unit in the last of 8 bits, and the activation's own error.
    const auto bound = test::kBf16Unit * want.abs() + 1e-6 * in_double(s.x).abs().clamp_max(1);
    for (const Version& v : versions()) {
      INFO(v.name << ": " << activation_name(a));
      CHECK(outside(run(s, v.micro), want, bound) == "");
    }
  }
}

TEST_CASE("bf16: tiles of another library are as it left them") {
  unsigned char theirs[64] = {1}, found[64];
  theirs[16] = 32, theirs[48] = 8;
  const Site s = random_site({.rows = 20}, 0.5);
  cpu::Bf16Micro packed = test::kEmulatedAmx;
  packed.least_packed_rows = 1;
  const int threads = torch::get_num_threads();
  torch::set_num_threads(1);
  test::set_emulated_tiles(theirs);
  run(s, packed);
  test::get_emulated_tiles(found);
  CHECK(std::memcmp(theirs, found, 64) == 0);
  const unsigned char none[64] = {};
  test::set_emulated_tiles(none);
  run(s, packed);
  test::get_emulated_tiles(found);
  CHECK(std::memcmp(none, found, 64) == 0);
  torch::set_num_threads(threads);
}

TEST_CASE("isa: a forced set is the one that both kernels take, float32 the widest below it") {
  const auto& sets = cpu::available_isas();
  REQUIRE(sets.front() == cpu::Isa::portable);
  CHECK(cpu::isa() == sets.back());
  for (const cpu::Isa set : sets) {
    const test::ScopedEnv env("D2DMOE_ISA", std::string(cpu::isa_name(set)).c_str());
    CHECK(cpu::isa() == set);
    const std::string fp32 = cpu::micro().name;
    CHECK(fp32 == cpu::isa_name(std::min(set, cpu::Isa::avx512)));
  }
  const test::ScopedEnv env("D2DMOE_ISA", "sse");
  CHECK(test::contains(test::message_of([] { cpu::isa(); }), "this processor has portable"));
}
