// The emulated instructions against what PyTorch and plain loops say, so that the tests of the kernels can be
// believed.
#include "kernels/simt/device.h"
#include "support/support.h"

using namespace d2dmoe;
using namespace d2dmoe::kernels::cuda;
using namespace d2dmoe::kernels::cuda::emulated;

namespace {

template <class T>
void check_conversions(torch::ScalarType type) {
  torch::manual_seed(1);
  // All 16-bit patterns to float32, and floats of every size (also halfway between two numbers) back.
  auto patterns = torch::arange(1 << 16, torch::kInt).to(torch::kShort);
  const auto floats = patterns.view(type).to(torch::kFloat).contiguous();
  for (int i = 0; i < 1 << 16; ++i) {
    const float got = to_float(T{static_cast<uint16_t>(i)}), want = floats.const_data_ptr<float>()[i];
    if (std::isnan(want) ? !std::isnan(got) : got != want || std::signbit(got) != std::signbit(want))
      FAIL("pattern " << i << ": got " << got << ", want " << want);
  }
  auto values = torch::cat({torch::randn(20000) * torch::exp2(torch::randint(-40, 20, {20000})),
                            (floats.slice(0, 0, -1) + floats.slice(0, 1)) / 2,
                            torch::tensor({INFINITY, -0.0f, 1e38f})});
  const auto rounded = values.to(type).to(torch::kFloat);
  for (int64_t i = 0; i < values.numel(); ++i) {
    T got;
    store(&got, values.const_data_ptr<float>()[i]);
    const float want = rounded.const_data_ptr<float>()[i];
    if (std::isnan(want) ? !std::isnan(to_float(got)) : to_float(got) != want)
      FAIL(values.const_data_ptr<float>()[i] << ": got " << to_float(got) << ", want " << want);
  }
}

// One warp multiplies a [16, 16] by b [16, 8], each lane taking its elements as the PTX manual numbers them.
template <class T>
torch::Tensor warp_product(const torch::Tensor& a, const torch::Tensor& b) {
  auto c = torch::full({16, 8}, NAN);
  const auto* pa = static_cast<const uint16_t*>(a.const_data_ptr());
  const auto* pb = static_cast<const uint16_t*>(b.const_data_ptr());
  float* pc = c.data_ptr<float>();
  simt::run_grid(1, 32, 0, [&] {
    const unsigned g = threadIdx.x / 4, t = threadIdx.x % 4;
    // Tables "Matrix fragments for mma.m16n8k16": row and column of element i of a lane.
    uint32_t words[4] = {}, b_words[2] = {};
    for (unsigned i = 0; i < 8; ++i) {
      const unsigned row = i < 2 || (i >= 4 && i < 6) ? g : g + 8,
                     column = t * 2 + (i & 1) + (i >= 4 ? 8 : 0);
      words[i / 2] |= static_cast<uint32_t>(pa[row * 16 + column]) << 16 * (i % 2);
    }
    for (unsigned i = 0; i < 4; ++i) {
      const unsigned row = t * 2 + (i & 1) + (i >= 2 ? 8 : 0);
      b_words[i / 2] |= static_cast<uint32_t>(pb[row * 8 + g]) << 16 * (i % 2);
    }
    float sums[4] = {1, 1, 1, 1};
    multiply(sums, words, b_words[0], b_words[1], T{});
    for (unsigned i = 0; i < 4; ++i) pc[(i < 2 ? g : g + 8) * 8 + t * 2 + (i & 1)] = sums[i];
  });
  return c;
}

}  // namespace

TEST_CASE("cuda simt: 16-bit numbers convert as PyTorch's") {
  check_conversions<Bf16>(torch::kBFloat16);
  check_conversions<F16>(torch::kHalf);
}

TEST_CASE("cuda simt: the warp's product is a matrix product") {
  torch::manual_seed(2);
  const auto a = torch::randn({16, 16}), b = torch::randn({16, 8});
  for (const auto type : {torch::kBFloat16, torch::kHalf}) {
    const auto ra = a.to(type), rb = b.to(type);
    const auto got = type == torch::kHalf ? warp_product<F16>(ra, rb) : warp_product<Bf16>(ra, rb);
    CHECK(test::difference(got, torch::mm(ra.to(torch::kFloat), rb.to(torch::kFloat)) + 1, 1e-5) == "");
  }
}

TEST_CASE("cuda simt: matrix loads give each lane its elements, transposed or not") {
  // Element (row r, column c) of matrix m is 64 m + 8 r + c; the rows lie in shared memory in reverse.
  simt::run_grid(1, 32, 512, [] {
    auto* memory = reinterpret_cast<uint16_t*>(dynamic_shared());
    const unsigned lane = threadIdx.x;
    for (unsigned c = 0; c < 8; ++c) memory[(31 - lane) * 8 + c] = static_cast<uint16_t>(8 * lane + c);
    __syncthreads();
    uint32_t straight[4], transposed[4];
    load_matrices(straight, shared_address(memory + (31 - lane) * 8));
    load_matrices_transposed(transposed, shared_address(memory + (31 - lane) * 8));
    for (unsigned m = 0; m < 4; ++m) {
      const unsigned first = 64 * m + 8 * (lane / 4) + 2 * (lane % 4);
      CHECK(straight[m] == (first | (first + 1) << 16));
      const unsigned above = 64 * m + 16 * (lane % 4) + lane / 4;
      CHECK(transposed[m] == (above | (above + 8) << 16));
    }
  });
}

TEST_CASE("cuda simt: the warp's product of TF32 numbers looks at their upper 19 bits") {
  torch::manual_seed(3);
  // Table "Matrix fragments for mma.m16n8k8 with .tf32": a 16x8, b 8x8.
  const auto a = torch::randn({16, 8}), b = torch::randn({8, 8});
  auto c = torch::full({16, 8}, NAN);
  const float *pa = a.const_data_ptr<float>(), *pb = b.const_data_ptr<float>();
  float* pc = c.data_ptr<float>();
  simt::run_grid(1, 32, 0, [&] {
    const unsigned g = threadIdx.x / 4, t = threadIdx.x % 4;
    const uint32_t words[4] = {bits_of(pa[g * 8 + t]), bits_of(pa[(g + 8) * 8 + t]),
                               bits_of(pa[g * 8 + t + 4]), bits_of(pa[(g + 8) * 8 + t + 4])};
    float sums[4] = {1, 1, 1, 1};
    multiply(sums, words, bits_of(pb[t * 8 + g]), bits_of(pb[(t + 4) * 8 + g]), Tf32{});
    for (unsigned i = 0; i < 4; ++i) pc[(i < 2 ? g : g + 8) * 8 + t * 2 + (i & 1)] = sums[i];
  });
  const auto cut = [](const torch::Tensor& x) {
    return x.view(torch::kInt).bitwise_and(~0x1fff).view(torch::kFloat).to(torch::kDouble);
  };
  const auto want = torch::mm(cut(a), cut(b)) + 1;
  CHECK((c.to(torch::kDouble) - want).abs().max().item<double>() < 1e-5);  // 8 products of 22 bits
}

TEST_CASE("cuda simt: an asynchronous copy is there after the wait, not before, and fills with zeros") {
  alignas(16) static const uint32_t source[8] = {1, 2, 3, 4, 5, 6, 7, 8};
  simt::run_grid(1, 1, 32, [] {
    auto* memory = reinterpret_cast<uint32_t*>(dynamic_shared());
    copy_async(shared_address(memory), source, 16);
    copies_commit();
    copy_async(shared_address(memory + 4), source + 4, 6);
    copies_commit();
    CHECK(memory[0] == 0xffffffffu);
    copies_wait<1>();
    CHECK((memory[0] == 1 && memory[3] == 4 && memory[4] == 0xffffffffu));
    copies_wait<0>();
    CHECK((memory[4] == 5 && memory[5] == 6 && memory[6] == 0 && memory[7] == 0));
  });
}

TEST_CASE("cuda simt: barriers order threads, votes and shuffles reach the warp") {
  for (const auto order : {simt::Order::ascending, simt::Order::descending}) {
    simt::set_order(order);
    int blocks = 0;
    simt::run_grid({2, 3, 2}, {40, 2}, 4 * 80, [&] {
      auto* memory = reinterpret_cast<uint32_t*>(dynamic_shared());
      const unsigned me = simt::here().flat;
      CHECK(me == threadIdx.x + 40 * threadIdx.y);
      memory[me] = me;
      __syncthreads();
      CHECK(memory[79 - me] == 79 - me);
      if (me >= 64) return;  // half a warp, and threads that the next barrier does not wait for
      CHECK(__ballot_sync(0xffffffffu, me % 3 == 0) == (me < 32 ? 0x49249249u : 0x92492492u));
      CHECK(__shfl_xor_sync(0xffffffffu, me, 5) == (me ^ 5));
      CHECK(__shfl_up_sync(0xffffffffu, me, 4) == (me % 32 < 4 ? me : me - 4));
      __syncthreads();
      if (me == 0) ++blocks;
    });
    CHECK(blocks == 12);
  }
  simt::set_order(simt::Order::ascending);
}
