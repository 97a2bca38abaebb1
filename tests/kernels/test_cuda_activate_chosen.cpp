// The pass between the two products of a masked dense layer: the kernel's own text, run on the CPU
// (tests/kernels/simt), and the kernel itself where there is a device.
#include "d2dmoe/kernels/cuda/expert_mlp.h"
#include "kernels/cuda_checks.h"
#include "kernels/cuda_emulated.h"
#include "kernels/mlp_cases.h"

using namespace d2dmoe;
using namespace d2dmoe::kernels;

namespace {

struct Sums {
  torch::Tensor h, up, mask;
};

// Every second element of what is not chosen is NaN: it must not come through.
Sums random_sums(int64_t rows, int64_t experts, int64_t size, bool gated, torch::ScalarType type) {
  Sums s;
  s.mask = torch::rand({rows, experts}).lt(0.4);
  const auto unchosen = s.mask.logical_not().repeat_interleave(size, 1);
  const auto sums = [&] {
    const auto t = torch::randn({rows, experts * size}).mul_(3);
    return t.masked_fill_(unchosen.logical_and(torch::rand_like(t).lt(0.5)), NAN).to(type);
  };
  s.h = sums();
  if (gated) s.up = sums();
  return s;
}

// In double, rounded once.
torch::Tensor chosen_only(const Sums& s, Activation activation) {
  auto out = activate(s.h.to(torch::kDouble), activation);
  if (s.up.defined()) out = out * s.up.to(torch::kDouble);
  const auto chosen = s.mask.repeat_interleave(s.h.size(1) / s.mask.size(1), 1);
  return torch::where(chosen, out, torch::zeros_like(out));
}

// Rounding to the element type, and that of float32 on the way: activations are some roundings of numbers up
// to their argument.
void check_chosen(const torch::Tensor& got, const Sums& s, Activation activation) {
  const auto type = s.h.scalar_type();
  const double epsilon = test::epsilon_of(type);
  const auto want = chosen_only(s, activation);
  const auto known = torch::nan_to_num(s.h.to(torch::kDouble)).abs();
  auto scale = s.up.defined() ? known * torch::nan_to_num(s.up.to(torch::kDouble)).abs() : known;
  const auto bound = want.abs() * epsilon + (scale + 1) * 1e-6;
  CHECK(got.scalar_type() == type);
  CHECK((got.to(torch::kDouble) - want).abs().le(bound).all().item<bool>());
}

}  // namespace

TEST_CASE("cuda activate_chosen: emulated, every activation and type, whole pieces and single elements") {
  torch::manual_seed(61);
  for (const auto type : test::kCudaTypes)
    for (const auto activation : test::kActivations)
      for (const bool gated : {false, true})
        for (const int64_t size : {1, 3, 8, 24}) {
          INFO(c10::toString(type) << ", " << activation_name(activation) << ", size " << size);
          const auto s = random_sums(5, 6, size, gated, type);
          check_chosen(test::emulated_activate_chosen(s.h, s.up, s.mask, activation), s, activation);
        }
}

TEST_CASE("cuda activate_chosen: emulated, several blocks, rows that take turns, unaligned sums, nothing") {
  torch::manual_seed(62);
  for (const auto type : test::kCudaTypes) {
    const auto wide = random_sums(3, 70, 16, true, type);
    check_chosen(test::emulated_activate_chosen(wide.h, wide.up, wide.mask, Activation::silu), wide,
                 Activation::silu);
    const auto one = random_sums(4, 1, 33, false, type);
    check_chosen(test::emulated_activate_chosen(one.h, one.up, one.mask, Activation::relu), one,
                 Activation::relu);
    const auto apart = random_sums(3, 4, 16, true, type);
    check_chosen(test::emulated_activate_chosen(apart.h, apart.up, apart.mask, Activation::relu, 1), apart,
                 Activation::relu);
    const auto none = random_sums(0, 4, 16, false, type);
    CHECK(test::emulated_activate_chosen(none.h, none.up, none.mask, Activation::relu).numel() == 0);
  }
  const auto tall = random_sums(5000, 1, 1, false, torch::kFloat);
  check_chosen(test::emulated_activate_chosen(tall.h, tall.up, tall.mask, Activation::relu), tall,
               Activation::relu);
}

TEST_CASE("cuda activate_chosen: on a device: the masked dense layer is that of the CPU", "[cuda][small]") {
  if (!test::on_a_device()) return;
  torch::manual_seed(63);
  for (const auto type : test::kCudaTypes)
    for (const bool gated : {false, true})
      for (const int64_t size : {3, 16}) {
        const test::MlpCase c{.rows = 21,
                              .d_in = 40,
                              .size = size,
                              .experts = 5,
                              .d_out = 40,
                              .activation = gated ? Activation::silu : Activation::relu,
                              .gated = gated};
        INFO(c.text() << ", " << c10::toString(type));
        const auto w = test::to_dtype(test::random_weights(c), type);
        const auto x = torch::randn({c.rows, c.d_in}).to(type);
        const auto mask = test::random_mask(c, 0.4);
        const auto got = masked_dense_mlp(x.cuda(), mask.cuda(), test::on_gpu(w)).cpu().to(torch::kDouble);
        const auto wide = test::to_dtype(w, torch::kDouble);
        const auto want = expert_mlp_reference(x.to(torch::kDouble), mask, wide);
        const double epsilon = type == torch::kFloat ? 1e-5 : type == torch::kBFloat16 ? 1 / 64.0 : 1 / 512.0;
        CHECK((got - want).abs().max().item<double>() <= epsilon * want.abs().max().item<double>());
      }
}
