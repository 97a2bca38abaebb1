// The contract of expert_mlp held against the CUDA kernels' own text, run on the CPU (tests/kernels/simt),
// and, where there is a device, against the kernels themselves.
#include "kernels/cuda_emulated.h"

#include "d2dmoe/kernels/cuda/expert_mlp.h"
#include "d2dmoe/kernels/cuda/plan.h"

using namespace d2dmoe;
using namespace d2dmoe::kernels;
using test::Kernels;
using test::MlpCase;

namespace {

const std::vector<torch::ScalarType> kTypes = {torch::kFloat, torch::kBFloat16, torch::kHalf};

// Relative error of rounding to the nearest.
double epsilon_of(torch::ScalarType type) {
  return type == torch::kFloat ? 6e-8 : type == torch::kBFloat16 ? 1 / 256.0 : 1 / 2048.0;
}

// The masked dense layer in double, its activations rounded to x's type where the kernels round them: the
// tuned ones do above cuda::kDecodeRows rows.
torch::Tensor wanted(const torch::Tensor& x, const torch::Tensor& mask, const MlpWeights& w, bool rounds) {
  const auto wide = test::to_dtype(w, torch::kDouble);
  const auto xd = x.to(torch::kDouble);
  auto h = activate(torch::linear(xd, wide.w1, wide.b1), w.activation);
  if (w.gated()) h = h * torch::linear(xd, wide.wu, wide.bu);
  if (rounds) h = h.to(x.scalar_type()).to(torch::kDouble);
  h = torch::where(mask.repeat_interleave(w.hidden() / mask.size(1), 1), h, torch::zeros_like(h));
  const auto y = torch::mm(h, wide.w2t);
  return w.b2.defined() ? y + wide.b2 : y;
}

// Rounding of float32 sums, of y, and of a few activations that stand so near the middle between two numbers
// that the kernel's float32 falls on the other side.
void check_result(const torch::Tensor& got, const torch::Tensor& x, const torch::Tensor& mask,
                  const MlpWeights& w, bool rounds) {
  const double epsilon = epsilon_of(x.scalar_type());
  double bound = test::rounding_bound(x, w);
  if (rounds && x.scalar_type() != torch::kFloat && w.w2t.numel() > 0 && x.numel() > 0) {
    const auto wide = test::to_dtype(w, torch::kDouble);
    auto h = activate(torch::linear(x.to(torch::kDouble), wide.w1, wide.b1), w.activation).abs();
    if (w.gated()) h = h * torch::linear(x.to(torch::kDouble), wide.wu, wide.bu).abs();
    bound += 2 * epsilon * h.max().item<double>() * wide.w2t.abs().max().item<double>();
  }
  CHECK(got.scalar_type() == x.scalar_type());
  CHECK(test::difference(got.to(torch::kDouble), wanted(x, mask, w, rounds), bound, epsilon) == "");
}

void check_values(Kernels kernels, const torch::Tensor& x, const torch::Tensor& mask, const MlpWeights& w) {
  check_result(test::emulated_expert_mlp(kernels, x, mask, w), x, mask, w,
               kernels == Kernels::tuned && x.size(0) > cuda::kDecodeRows);
}

void check_case(const MlpCase& c, torch::ScalarType type, Kernels kernels = Kernels::tuned) {
  INFO(c.text() << ", " << c10::toString(type));
  const auto w = test::to_dtype(test::random_weights(c), type);
  const auto x = torch::randn({c.rows, c.d_in}).to(type);
  for (const double share : {0.0, 0.4}) check_values(kernels, x, test::random_mask(c, share), w);
  auto mixed = test::random_mask(c, 1.0);  // every second row runs all experts, the others the last, one none
  if (c.rows > 1) mixed.slice(0, 0, c.rows, 2).slice(1, 0, c.experts - 1).fill_(false);
  if (c.rows > 2) mixed[2].fill_(false);
  check_values(kernels, x, mixed, w);
}

}  // namespace

TEST_CASE("cuda expert_mlp: emulated, decoding, sizes around vectors") {
  torch::manual_seed(41);
  for (const auto type : kTypes) {
    for (const int64_t rows : {0, 1, 4, 5, 16})
      for (const int64_t size : {1, 24, 33}) check_case({.rows = rows, .size = size}, type);
    for (const int64_t d : {1, 8, 15, 40, 264})
      check_case({.d_in = d, .size = 5, .experts = 3, .d_out = d}, type);
    check_case({.rows = 3, .d_in = 16, .size = 2, .experts = 130, .d_out = 1030}, type);
    check_case({.rows = 3, .d_in = 16, .size = 130, .experts = 2, .d_out = 16}, type);
  }
}

TEST_CASE("cuda expert_mlp: emulated, many rows, sizes around tiles") {
  torch::manual_seed(42);
  for (const auto type : kTypes) {
    for (const int64_t rows : {17, 33, 130})
      for (const int64_t size : {1, 24, 33}) check_case({.rows = rows, .size = size}, type);
    for (const int64_t d : {1, 8, 15, 40, 264})
      check_case({.rows = 20, .d_in = d, .size = 5, .experts = 3, .d_out = d}, type);
    check_case({.rows = 40, .d_in = 64, .size = 160, .experts = 2, .d_out = 72}, type);
    check_case({.rows = 40, .d_in = 8, .size = 2, .experts = 67, .d_out = 8}, type);
    check_case({.rows = 19, .size = 12, .experts = 1}, type);
  }
}

TEST_CASE("cuda expert_mlp: emulated, every activation, gated or not, with or without biases") {
  torch::manual_seed(43);
  for (const auto type : kTypes)
    for (const Activation a :
         {Activation::relu, Activation::gelu_erf, Activation::gelu_tanh, Activation::silu, Activation::tanh})
      for (const bool gated : {false, true})
        for (const bool biases : {false, true})
          for (const int64_t rows : {5, 21})
            check_case({.rows = rows, .experts = 3, .activation = a, .gated = gated, .biases = biases}, type);
}

TEST_CASE("cuda expert_mlp: emulated, gated sites of every tile width, aligned and not") {
  torch::manual_seed(44);
  for (const auto type : kTypes)
    for (const int64_t d : {33, 64})
      for (const int64_t size : {7, 16, 30, 70})
        check_case({.rows = 24, .d_in = d, .size = size, .experts = 2, .d_out = d, .gated = true}, type);
}

TEST_CASE("cuda expert_mlp: emulated, degenerate widths") {
  for (const auto type : kTypes)
    for (const int64_t rows : {4, 20})
      for (const MlpCase& c : {MlpCase{.rows = rows, .d_in = 0, .size = 2, .experts = 2, .d_out = 3},
                               MlpCase{.rows = rows, .d_in = 3, .size = 2, .experts = 2, .d_out = 0},
                               MlpCase{.rows = rows, .d_in = 3, .size = 0, .experts = 2, .d_out = 3}})
        check_case(c, type);
}

TEST_CASE("cuda expert_mlp: emulated, several tiles of pairs, bands of rows and lists of experts") {
  torch::manual_seed(45);
  for (const auto type : kTypes) {
    check_case({.rows = 300, .d_in = 16, .size = 8, .experts = 3, .d_out = 136}, type);
    check_case({.rows = 30, .d_in = 8, .size = 1, .experts = 600, .d_out = 8}, type);
  }
  // More than a tile of pairs of one expert in a band, and several steps of a product.
  check_case({.rows = 2100, .d_in = 8, .size = 70, .experts = 1, .d_out = 8}, torch::kFloat);
  check_case({.rows = 1100, .d_in = 8, .size = 4, .experts = 2, .d_out = 8}, torch::kBFloat16);
  check_case({.rows = 2100, .d_in = 8, .size = 4, .experts = 2, .d_out = 8}, torch::kBFloat16);
}

TEST_CASE("cuda expert_mlp: emulated, narrow bands where blocks get little shared memory, the same bytes") {
  torch::manual_seed(50);
  const MlpCase c{.rows = 300, .d_in = 8, .size = 136, .experts = 2, .d_out = 8};
  for (const auto type : kTypes) {
    const auto w = test::to_dtype(test::random_weights(c), type);
    const auto x = torch::randn({c.rows, c.d_in}).to(type);
    const auto mask = test::random_mask(c, 0.4);
    const auto y = test::emulated_expert_mlp(Kernels::tuned, x, mask, w);
    const int before = simt::most_shared_bytes();
    for (const int kib : {99, 70}) {  // two stages instead of three, bands of 32 rows
      simt::set_most_shared_bytes(kib * 1024);
      CHECK(torch::equal(test::emulated_expert_mlp(Kernels::tuned, x, mask, w), y));
    }
    simt::set_most_shared_bytes(before);
  }
}

TEST_CASE("cuda expert_mlp: bands are as wide as a block's shared memory allows") {
  const int before = simt::most_shared_bytes();
  // Compute capability 9.0, 8.0, 8.6, and less than any.
  for (const auto& [kib, rows] : {std::pair{227, 256}, {163, 160}, {99, 64}, {16, 32}}) {
    simt::set_most_shared_bytes(kib * 1024);
    CHECK(test::emulated_band_rows(4096, 768, 256) == rows);
  }
  simt::set_most_shared_bytes(before);
}

TEST_CASE("cuda expert_mlp: emulated, rows of x that lie apart") {
  torch::manual_seed(46);
  const MlpCase c{.rows = 22, .experts = 3};
  for (const auto type : kTypes)
    for (const int64_t rows : {6, 22}) {
      const auto w = test::to_dtype(test::random_weights(c), type);
      const auto wide = torch::randn({rows, c.d_in + 15}).to(type);
      const auto mask = torch::rand({rows, c.experts}).lt(0.5);
      check_values(Kernels::tuned, wide.slice(1, 0, c.d_in), mask, w);
    }
}

TEST_CASE(
    "cuda expert_mlp: emulated, NaN and infinity of a row reach its executed experts and nothing else") {
  torch::manual_seed(47);
  for (const auto type : kTypes)
    for (const int64_t rows : {6, 20}) {
      const MlpCase c{.rows = rows, .experts = 4};
      const auto w = test::to_dtype(test::random_weights(c), type);
      auto x = torch::randn({c.rows, c.d_in});
      x[1][3] = NAN;
      x[2][0] = std::numeric_limits<float>::infinity();
      x[3][5] = NAN;
      auto mask = torch::ones({c.rows, c.experts}, torch::kBool);
      mask[3].fill_(false);
      const auto y = test::emulated_expert_mlp(Kernels::tuned, x.to(type), mask, w);
      CHECK(y[1].isnan().all().item<bool>());
      CHECK(y[2].isfinite().logical_not().all().item<bool>());
      CHECK(torch::equal(y[3], w.b2));
      CHECK(y[0].isfinite().all().item<bool>());
      CHECK(y.slice(0, 4).isfinite().all().item<bool>());
    }
}

namespace {

// NaN and either infinity where the dense layer has them, and what is finite near to it.
void check_like_dense(const torch::Tensor& x, const torch::Tensor& mask, const MlpWeights& w) {
  const float infinity = std::numeric_limits<float>::infinity();
  INFO(c10::toString(x.scalar_type())
       << ", rows " << x.size(0) << ", experts of " << w.hidden() / mask.size(1));
  const auto y = test::emulated_expert_mlp(Kernels::tuned, x, mask, w).to(torch::kDouble);
  // Sums that are finite in float64 may not be in the element type.
  const auto want = wanted(x, mask, w, x.size(0) > cuda::kDecodeRows).to(x.scalar_type()).to(torch::kDouble);
  REQUIRE(want.isfinite().logical_not().any().item<bool>());
  CHECK(torch::equal(y.isnan(), want.isnan()));
  CHECK(torch::equal(y.eq(infinity), want.eq(infinity)));
  CHECK(torch::equal(y.eq(-infinity), want.eq(-infinity)));
  const auto off = ((y - want).abs() / (want.abs() + 1)).index({want.isfinite()});
  CHECK((off.numel() == 0 || off.max().item<double>() < 4 * epsilon_of(x.scalar_type()) + 1e-5));
}

}  // namespace

TEST_CASE("cuda expert_mlp: emulated, infinities give what the dense layer gives") {
  torch::manual_seed(51);
  const float infinity = std::numeric_limits<float>::infinity(), largest = std::numeric_limits<float>::max();
  for (const auto type : kTypes)
    for (const int64_t rows : {6, 20})
      for (const int64_t size : {1, 8}) {
        const MlpCase c{
            .rows = rows, .size = size, .experts = 3, .activation = Activation::relu, .biases = false};
        auto w = test::random_weights(c);
        w.w1[0].fill_(0.5), w.w1[size].fill_(-1);  // numbers that need few bits, beside others
        auto x = torch::randn({c.rows, c.d_in});
        x[0][0] = infinity;
        x[1][1] = -infinity;
        x[2][c.d_in - 1] = infinity;
        x[3][0] = x[3][1] = infinity;
        x[4][2] = largest;  // of float32; infinity of the others
        const auto mask = torch::eye(c.experts, torch::kBool).repeat({(rows + 2) / 3, 1}).slice(0, 0, rows);
        check_like_dense(x.to(type), mask, test::to_dtype(w, type));

        auto weights = test::random_weights({.rows = rows, .size = size, .experts = 1, .biases = false});
        weights.w2t[0][4] = -infinity;
        check_like_dense(torch::randn({rows, c.d_in}).to(type), torch::ones({rows, 1}, torch::kBool),
                         test::to_dtype(weights, type));
      }
}

TEST_CASE("cuda expert_mlp: emulated, the bytes of a row do not depend on its neighbours") {
  torch::manual_seed(48);
  const MlpCase c{.rows = 150, .d_in = 40, .size = 24, .experts = 4, .d_out = 40};
  for (const auto type : kTypes) {
    const auto w = test::to_dtype(test::random_weights(c), type);
    const auto x = torch::randn({c.rows, c.d_in}).to(type);
    const auto mask = test::random_mask(c, 0.5);
    const auto y = test::emulated_expert_mlp(Kernels::tuned, x, mask, w);
    const auto some =
        test::emulated_expert_mlp(Kernels::tuned, x.slice(0, 90, 110), mask.slice(0, 90, 110), w);
    CHECK(torch::equal(some, y.slice(0, 90, 110)));
  }
}

TEST_CASE("cuda expert_mlp: emulated, the plain kernels") {
  torch::manual_seed(49);
  for (const auto type : kTypes) {
    for (const bool gated : {false, true}) {
      check_case({.rows = 37, .d_in = 9, .size = 24, .experts = 3, .d_out = 11, .gated = gated}, type,
                 Kernels::plain);
      check_case({.rows = 16, .d_in = 40, .size = 17, .experts = 2, .d_out = 130, .gated = gated}, type,
                 Kernels::plain);
    }
    check_case({.rows = 1, .d_in = 1, .size = 1, .experts = 1, .d_out = 1}, type, Kernels::plain);
    check_case({.rows = 3, .d_in = 2, .size = 0, .experts = 2, .d_out = 2}, type, Kernels::plain);
  }
}

// What follows runs on a device, and is skipped, in words, where there is none.

namespace {

bool on_a_device() {
  if (torch::cuda::is_available() && cuda::available(0)) return true;
  WARN("no CUDA device, or a build without CUDA: the kernels themselves did not run");
  return false;
}

MlpWeights on_gpu(MlpWeights w) {
  for (torch::Tensor* t : {&w.w1, &w.b1, &w.wu, &w.bu, &w.w2t, &w.b2})
    if (t->defined()) *t = t->to(torch::kCUDA);
  return w;
}

// The tuned kernels, twice: the same bytes.
torch::Tensor tuned_on_gpu(const torch::Tensor& x, const torch::Tensor& mask, const MlpWeights& there) {
  const auto run = [&] {
    return test::on_device(Kernels::tuned, x.to(torch::kCUDA), mask.to(torch::kCUDA), there).cpu();
  };
  const auto y = run();
  CHECK(test::same_bytes(y, run()));
  return y;
}

}  // namespace

TEST_CASE("cuda expert_mlp: on a device: the tuned and the plain kernels against the reference", "[cuda]") {
  if (!on_a_device()) return;
  torch::manual_seed(60);
  for (const auto type : kTypes)
    for (const int64_t rows : {0, 1, 7, 16, 17, 300, 2100})
      for (const auto& [d, size, experts] : {std::array<int64_t, 3>{33, 24, 5}, {64, 33, 3}, {768, 128, 24}})
        for (const bool gated : {false, true}) {
          const MlpCase c{
              .rows = rows, .d_in = d, .size = size, .experts = experts, .d_out = d, .gated = gated};
          INFO(c.text() << ", " << c10::toString(type));
          const auto w = test::to_dtype(test::random_weights(c), type);
          const auto there = on_gpu(w);
          const auto x = torch::randn({c.rows, c.d_in}).to(type);
          const auto mask = test::random_mask(c, 0.3);
          check_result(tuned_on_gpu(x, mask, there), x, mask, w, rows > cuda::kDecodeRows);
          check_result(
              test::on_device(Kernels::plain, x.to(torch::kCUDA), mask.to(torch::kCUDA), there).cpu(), x,
              mask, w, false);
        }
}

TEST_CASE("cuda expert_mlp: on a device: every tuned kernel on small shapes, for tools that watch memory",
          "[cuda][small]") {
  if (!on_a_device()) return;
  torch::manual_seed(63);
  for (const auto type : kTypes)
    for (const int64_t rows : {1, 3, 9, 40, 300})
      for (const int64_t size : {7, 24, 64, 128})
        for (const bool gated : {false, true}) {
          const MlpCase c{.rows = rows,
                          .d_in = 72,
                          .size = size,
                          .experts = 5,
                          .d_out = size == 7 ? 67 : 136,
                          .gated = gated};
          INFO(c.text() << ", " << c10::toString(type));
          const auto w = test::to_dtype(test::random_weights(c), type);
          const auto there = on_gpu(w);
          const auto x = torch::randn({c.rows, c.d_in}).to(type);
          const auto mask = test::random_mask(c, 0.4);
          check_result(tuned_on_gpu(x, mask, there), x, mask, w, rows > cuda::kDecodeRows);
        }
}

// Shapes that the kernels of sm_90a take: whole lines of 64 neurons an expert. On other devices the same is
// asked of the kernels that run there.
TEST_CASE("cuda expert_mlp: on a device: sizes around the tiles of Hopper's kernels", "[cuda][hopper]") {
  if (!on_a_device()) return;
  torch::manual_seed(61);
  for (const auto type : {torch::kBFloat16, torch::kHalf})
    for (const MlpCase& c : {MlpCase{.rows = 256, .d_in = 8, .size = 64, .experts = 1, .d_out = 8},
                             MlpCase{.rows = 257, .d_in = 72, .size = 64, .experts = 7, .d_out = 136},
                             MlpCase{.rows = 700, .d_in = 200, .size = 192, .experts = 3, .d_out = 128},
                             MlpCase{.rows = 1030, .d_in = 64, .size = 64, .experts = 40, .d_out = 264},
                             MlpCase{.rows = 3000, .d_in = 136, .size = 320, .experts = 5, .d_out = 1160},
                             MlpCase{.rows = 4097, .d_in = 64, .size = 128, .experts = 24, .d_out = 768}})
      for (const bool gated : {false, true})
        for (const bool biases : {false, true}) {
          MlpCase here = c;
          here.gated = gated, here.biases = biases;
          here.activation = gated ? Activation::gelu_tanh : biases ? Activation::silu : Activation::relu;
          INFO(here.text() << ", " << c10::toString(type));
          const auto w = test::to_dtype(test::random_weights(here), type);
          const auto there = on_gpu(w);
          const auto x = torch::randn({c.rows, c.d_in}).to(type);
          for (const double share : {0.0, 0.1, 1.0}) {
            const auto mask = test::random_mask(here, share);
            check_result(tuned_on_gpu(x, mask, there), x, mask, w, true);
          }
          // One expert takes every row, the others rows of the first half only.
          auto hot = test::random_mask(here, 0.2);
          hot.slice(0, c.rows / 2).fill_(false);
          hot.select(1, c.experts - 1).fill_(true);
          check_result(tuned_on_gpu(x, hot, there), x, hot, w, true);
        }
}

TEST_CASE("cuda expert_mlp: on a device: NaN stays in its row and a row's bytes are its own",
          "[cuda][hopper]") {
  if (!on_a_device()) return;
  torch::manual_seed(62);
  const MlpCase c{.rows = 2000, .d_in = 128, .size = 64, .experts = 12, .d_out = 256};
  const auto w = test::to_dtype(test::random_weights(c), torch::kBFloat16);
  const auto there = on_gpu(w);
  auto x = torch::randn({c.rows, c.d_in}).to(torch::kBFloat16);
  auto mask = test::random_mask(c, 0.3);
  const auto clean = tuned_on_gpu(x, mask, there);
  x[5].fill_(NAN);
  x[700][3] = std::numeric_limits<float>::infinity();
  mask[5].fill_(false);
  mask[5][2] = true;
  mask[9].fill_(false);
  const auto y = tuned_on_gpu(x, mask, there);
  CHECK(y[5].isnan().all().item<bool>());
  CHECK(torch::equal(y[9], w.b2));
  const auto others = torch::ones({c.rows}, torch::kBool);
  for (const int64_t row : {5, 9, 700}) others[row] = false;
  CHECK(torch::equal(y.index({others}), clean.index({others})));
  // The same rows among fewer: other bands, other tiles.
  CHECK(torch::equal(tuned_on_gpu(x.slice(0, 800, 1200), mask.slice(0, 800, 1200), there),
                     y.slice(0, 800, 1200)));
}

TEST_CASE("cuda expert_mlp: on a device: many calls in a row give the same bytes", "[cuda][hopper]") {
  if (!on_a_device()) return;
  torch::manual_seed(63);
  const MlpCase c{.rows = 8192, .d_in = 256, .size = 128, .experts = 16, .d_out = 1024};
  const auto there = on_gpu(test::to_dtype(test::random_weights(c), torch::kBFloat16));
  const auto x = torch::randn({c.rows, c.d_in}).to(torch::kCUDA, torch::kBFloat16);
  const auto mask = test::random_mask(c, 0.25).to(torch::kCUDA);
  const auto y = test::on_device(Kernels::tuned, x, mask, there);
  for (int i = 0; i < 200; ++i) CHECK(torch::equal(test::on_device(Kernels::tuned, x, mask, there), y));
}
