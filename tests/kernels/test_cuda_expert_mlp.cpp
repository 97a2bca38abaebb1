// The contract of expert_mlp held against the CUDA kernels' own text, run on the CPU (tests/kernels/simt).
// test_cuda_on_device.cpp holds it against the kernels themselves.
#include "d2dmoe/kernels/cuda/plan.h"
#include "kernels/cuda_checks.h"
#include "kernels/cuda_emulated.h"
#include "kernels/mlp_cases.h"

using namespace d2dmoe;
using namespace d2dmoe::kernels;
using test::Kernels;
using test::MlpCase;

namespace {

void check_values(Kernels kernels, const torch::Tensor& x, const torch::Tensor& mask, const MlpWeights& w) {
  test::check_result(test::emulated_expert_mlp(kernels, x, mask, w), x, mask, w,
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
  for (const auto type : test::kCudaTypes) {
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
  for (const auto type : test::kCudaTypes) {
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
  for (const auto type : test::kCudaTypes)
    for (const Activation a : test::kActivations)
      for (const bool gated : {false, true})
        for (const bool biases : {false, true})
          for (const int64_t rows : {5, 21})
            check_case({.rows = rows, .experts = 3, .activation = a, .gated = gated, .biases = biases}, type);
}

TEST_CASE("cuda expert_mlp: emulated, gated sites of every tile width, aligned and not") {
  torch::manual_seed(44);
  for (const auto type : test::kCudaTypes)
    for (const int64_t d : {33, 64})
      for (const int64_t size : {7, 16, 30, 70})
        check_case({.rows = 24, .d_in = d, .size = size, .experts = 2, .d_out = d, .gated = true}, type);
}

TEST_CASE("cuda expert_mlp: emulated, degenerate widths") {
  for (const auto type : test::kCudaTypes)
    for (const int64_t rows : {4, 20})
      for (const MlpCase& c : {MlpCase{.rows = rows, .d_in = 0, .size = 2, .experts = 2, .d_out = 3},
                               MlpCase{.rows = rows, .d_in = 3, .size = 2, .experts = 2, .d_out = 0},
                               MlpCase{.rows = rows, .d_in = 3, .size = 0, .experts = 2, .d_out = 3}})
        check_case(c, type);
}

TEST_CASE("cuda expert_mlp: emulated, several tiles of pairs, bands of rows and lists of experts") {
  torch::manual_seed(45);
  for (const auto type : test::kCudaTypes) {
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
  for (const auto type : test::kCudaTypes) {
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
  for (const auto type : test::kCudaTypes)
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
  for (const auto type : test::kCudaTypes)
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

TEST_CASE("cuda expert_mlp: emulated, infinities give what the dense layer gives") {
  test::check_infinities([](const auto& x, const auto& mask, const auto& w) {
    return test::emulated_expert_mlp(Kernels::tuned, x, mask, w);
  });
}

TEST_CASE("cuda expert_mlp: emulated, the bytes of a row do not depend on its neighbours") {
  torch::manual_seed(48);
  const MlpCase c{.rows = 150, .d_in = 40, .size = 24, .experts = 4, .d_out = 40};
  for (const auto type : test::kCudaTypes) {
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
  for (const auto type : test::kCudaTypes) {
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
