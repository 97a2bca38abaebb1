// The contract of expert_mlp held against the CUDA kernels themselves; skipped, in words, where there is no
// device.
#include <array>
#include <limits>

#include "d2dmoe/kernels/cuda/plan.h"
#include "kernels/cuda_checks.h"
#include "kernels/cuda_emulated.h"

using namespace d2dmoe;
using namespace d2dmoe::kernels;
using test::Kernels;
using test::MlpCase;

namespace {

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
  if (!test::on_a_device()) return;
  torch::manual_seed(60);
  for (const auto type : test::kCudaTypes)
    for (const int64_t rows : {0, 1, 7, 16, 17, 300, 2100})
      for (const auto& [d, size, experts] : {std::array<int64_t, 3>{33, 24, 5}, {64, 33, 3}, {768, 128, 24}})
        for (const bool gated : {false, true}) {
          const MlpCase c{
              .rows = rows, .d_in = d, .size = size, .experts = experts, .d_out = d, .gated = gated};
          INFO(c.text() << ", " << c10::toString(type));
          const auto w = test::to_dtype(test::random_weights(c), type);
          const auto there = test::on_gpu(w);
          const auto x = torch::randn({c.rows, c.d_in}).to(type);
          const auto mask = test::random_mask(c, 0.3);
          test::check_result(tuned_on_gpu(x, mask, there), x, mask, w, rows > cuda::kDecodeRows);
          test::check_result(
              test::on_device(Kernels::plain, x.to(torch::kCUDA), mask.to(torch::kCUDA), there).cpu(), x,
              mask, w, false);
        }
}

TEST_CASE("cuda expert_mlp: on a device: every tuned kernel on small shapes, for tools that watch memory",
          "[cuda][small]") {
  if (!test::on_a_device()) return;
  torch::manual_seed(63);
  for (const auto type : test::kCudaTypes)
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
          const auto there = test::on_gpu(w);
          const auto x = torch::randn({c.rows, c.d_in}).to(type);
          const auto mask = test::random_mask(c, 0.4);
          test::check_result(tuned_on_gpu(x, mask, there), x, mask, w, rows > cuda::kDecodeRows);
        }
}

// Shapes that the kernels of sm_90a take: whole lines of 64 neurons an expert. On other devices the same is
// asked of the kernels that run there.
TEST_CASE("cuda expert_mlp: on a device: sizes around the tiles of Hopper's kernels", "[cuda][hopper]") {
  if (!test::on_a_device()) return;
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
          const auto there = test::on_gpu(w);
          const auto x = torch::randn({c.rows, c.d_in}).to(type);
          for (const double share : {0.0, 0.1, 1.0}) {
            const auto mask = test::random_mask(here, share);
            test::check_result(tuned_on_gpu(x, mask, there), x, mask, w, true);
          }
          // One expert takes every row, the others rows of the first half only.
          auto hot = test::random_mask(here, 0.2);
          hot.slice(0, c.rows / 2).fill_(false);
          hot.select(1, c.experts - 1).fill_(true);
          test::check_result(tuned_on_gpu(x, hot, there), x, hot, w, true);
        }
}

TEST_CASE("cuda expert_mlp: on a device: NaN stays in its row and a row's bytes are its own",
          "[cuda][hopper]") {
  if (!test::on_a_device()) return;
  torch::manual_seed(62);
  const MlpCase c{.rows = 2000, .d_in = 128, .size = 64, .experts = 12, .d_out = 256};
  const auto w = test::to_dtype(test::random_weights(c), torch::kBFloat16);
  const auto there = test::on_gpu(w);
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
  if (!test::on_a_device()) return;
  torch::manual_seed(63);
  const MlpCase c{.rows = 8192, .d_in = 256, .size = 128, .experts = 16, .d_out = 1024};
  const auto there = test::on_gpu(test::to_dtype(test::random_weights(c), torch::kBFloat16));
  const auto x = torch::randn({c.rows, c.d_in}).to(torch::kCUDA, torch::kBFloat16);
  const auto mask = test::random_mask(c, 0.25).to(torch::kCUDA);
  const auto y = test::on_device(Kernels::tuned, x, mask, there);
  for (int i = 0; i < 200; ++i) CHECK(torch::equal(test::on_device(Kernels::tuned, x, mask, there), y));
}

TEST_CASE("cuda expert_mlp: on a device: infinities give what the dense layer gives", "[cuda][small]") {
  if (!test::on_a_device()) return;
  test::check_infinities(
      [](const auto& x, const auto& mask, const auto& w) { return tuned_on_gpu(x, mask, test::on_gpu(w)); });
}
