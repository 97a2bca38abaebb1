#include "d2dmoe/nn/attention.h"

#include <ATen/CPUGeneratorImpl.h>

#include "d2dmoe/kernels/cpu/isa.h"
#include "d2dmoe/nn/packed_attention.h"
#include "support/scoped_env.h"
#include "support/support.h"

using namespace d2dmoe;
using namespace d2dmoe::test;
using nn::SequenceLayout;

namespace {

// softmax(q k^T / sqrt(d)) v, one sequence and head at a time.
torch::Tensor plain_attention(const torch::Tensor& q, const torch::Tensor& k, const torch::Tensor& v,
                              const std::vector<int64_t>& lengths, int64_t heads) {
  const int64_t d = q.size(1) / heads;
  std::vector<torch::Tensor> sequences;
  int64_t row = 0;
  for (const int64_t n : lengths) {
    std::vector<torch::Tensor> parts;
    for (int64_t h = 0; h < heads; ++h) {
      const auto cut = [&](const torch::Tensor& x) { return x.narrow(0, row, n).narrow(1, h * d, d); };
      const auto scores = cut(q).matmul(cut(k).t()) / std::sqrt(static_cast<double>(d));
      parts.push_back(torch::softmax(scores, 1).matmul(cut(v)));
    }
    sequences.push_back(torch::cat(parts, 1));
    row += n;
  }
  return torch::cat(sequences);
}

}  // namespace

TEST_CASE("attention: equals the plain formula per sequence and head, with its gradients") {
  const auto& isas = kernels::cpu::available_isas();
  const auto isa = GENERATE_COPY(from_range(isas));
  const ScopedEnv environment("D2DMOE_ISA", std::string(kernels::cpu::isa_name(isa)).c_str());
  for (const auto& lengths :
       std::vector<std::vector<int64_t>>{{1}, {5}, {4, 4, 4}, {3, 7, 1, 5}, {1, 1, 2}, {17, 33}}) {
    torch::manual_seed(1);
    const SequenceLayout layout(lengths);
    const int64_t heads = 3, dim = 24;
    const auto make = [&] { return torch::randn({layout.tokens(), dim}).requires_grad_(); };
    const auto q = make(), k = make(), v = make(), upstream = torch::randn({layout.tokens(), dim});
    const auto got = nn::attend(q, k, v, layout, heads, 0);
    const auto want = plain_attention(q, k, v, lengths, heads);
    CHECK(difference(got, want, 2e-6) == "");
    const auto got_grads = torch::autograd::grad({got}, {q, k, v}, {upstream});
    const auto want_grads = torch::autograd::grad({want}, {q, k, v}, {upstream});
    for (size_t i = 0; i < 3; ++i) CHECK(difference(got_grads[i], want_grads[i], 5e-6) == "");
  }
}

TEST_CASE("attention: extreme scores stay finite") {
  const SequenceLayout layout({2, 5});
  const auto x = torch::randn({7, 8}) * 1e4;
  const auto got = nn::attend(x, x, x, layout, 2, 0);
  CHECK(got.isfinite().all().item<bool>());
  CHECK(difference(got, plain_attention(x, x, x, {2, 5}, 2), 0, 1e-5) == "");
}

TEST_CASE("attention: padding and unpadding are inverse, and each other's gradient") {
  const SequenceLayout layout({2, 3, 1});
  const auto x = torch::randn({6, 4}).requires_grad_();
  const auto padded = nn::pad_rows(x, layout);
  CHECK(padded.size(0) == 9);
  CHECK(padded.detach()[2].count_nonzero().item<int64_t>() == 0);
  CHECK(torch::equal(nn::unpad_rows(padded, layout), x));
  const auto upstream = torch::randn({9, 4});
  CHECK(torch::equal(torch::autograd::grad({padded}, {x}, {upstream})[0], nn::unpad_rows(upstream, layout)));
  const auto wide = torch::randn({9, 4}).requires_grad_();
  const auto narrow = nn::unpad_rows(wide, layout);
  CHECK(torch::equal(torch::autograd::grad({narrow}, {wide}, {x.detach()})[0], nn::pad_rows(x, layout)));
}

TEST_CASE("attention: dropout of attention weights is random, seeded and unbiased") {
  const SequenceLayout layout({6, 4});
  torch::manual_seed(2);
  const auto x = torch::randn({10, 8});
  const auto exact = nn::attend(x, x, x, layout, 2, 0);
  torch::manual_seed(7);
  const auto first = nn::attend(x, x, x, layout, 2, 0.5);
  torch::manual_seed(7);
  CHECK(torch::equal(first, nn::attend(x, x, x, layout, 2, 0.5)));
  CHECK_FALSE(torch::equal(first, nn::attend(x, x, x, layout, 2, 0.5)));
  auto sum = torch::zeros_like(exact);
  for (int i = 0; i < 2000; ++i) sum += nn::attend(x, x, x, layout, 2, 0.5);
  CHECK(difference(sum / 2000, exact, 0.2) == "");
}

TEST_CASE("attention: sequences of different lengths do not share their dropped weights") {
  // Equal scores and an identity as values: each row of the result shows which of its weights were kept.
  const std::vector<int64_t> lengths = {32, 16};
  const int64_t heads = 12, dim = 32, tokens = 48;
  const auto zeros = torch::zeros({tokens, heads * dim});
  const auto values = torch::cat({torch::eye(32), torch::eye(32).narrow(0, 0, 16)}).repeat({1, heads});
  const auto out = nn::packed_attention(zeros, zeros, values, {lengths, lengths, heads, 0.5, 7});
  const auto kept = out.gt(0).view({tokens, heads, 2, 16}).to(torch::kInt64);
  const auto codes = kept.mul(torch::tensor(2).pow(torch::arange(16))).sum(-1);  // [tokens, heads, 2]
  const auto longer = codes.narrow(0, 0, 32).flatten(),
             shorter = codes.narrow(0, 32, 16).select(2, 0).flatten();
  // 192 codes of 16 bits meet 768 others: two of them by chance.
  CHECK(torch::isin(shorter, longer).sum().item<int64_t>() < 20);
}

TEST_CASE("attention: the way with dropout computes the same function") {
  for (const auto& lengths : std::vector<std::vector<int64_t>>{{6, 4, 1}, {5, 5}}) {
    const SequenceLayout layout(lengths);
    torch::manual_seed(3);
    const auto x = torch::randn({layout.tokens(), 8});
    // So rare that with this seed nothing is dropped.
    CHECK(difference(nn::attend(x, x, x, layout, 2, 2e-5), nn::attend(x, x, x, layout, 2, 0), 1e-4) == "");
  }
}

TEST_CASE("attention: only the first tokens ask, as among all") {
  for (const auto type : {torch::kFloat32, torch::kFloat64}) {  // the packed way, PyTorch's way
    for (const auto& lengths : std::vector<std::vector<int64_t>>{{6, 4, 1}, {5, 5}, {1}, {40}}) {
      const SequenceLayout layout(lengths);
      torch::manual_seed(3);
      const auto make = [&] { return torch::randn({layout.tokens(), 12}, type).requires_grad_(); };
      const auto q = make(), k = make(), v = make();
      const auto rows = layout.first_rows();
      const auto got = nn::attend(q.index_select(0, rows), k, v, layout, 3, 0);
      const auto want = nn::attend(q, k, v, layout, 3, 0).index_select(0, rows);
      CHECK(difference(got, want, 1e-6) == "");
      const auto upstream = torch::randn_like(want);
      const auto got_grads = torch::autograd::grad({got}, {q, k, v}, {upstream});
      const auto want_grads = torch::autograd::grad({want}, {q, k, v}, {upstream});
      for (size_t i = 0; i < 3; ++i) CHECK(difference(got_grads[i], want_grads[i], 1e-6) == "");
    }
  }
}

TEST_CASE("attention: bfloat16 and sequences beyond the packed way's reach") {
  torch::manual_seed(4);
  const SequenceLayout layout({3, 9, 1});
  const auto x = torch::randn({13, 64});
  const auto low = x.to(torch::kBFloat16);
  const auto y = nn::attend(low, low, low, layout, 2, 0);
  CHECK(y.scalar_type() == torch::kBFloat16);
  const auto wide = low.to(torch::kFloat32);
  CHECK(difference(y.to(torch::kFloat32), nn::attend(wide, wide, wide, layout, 2, 0), 2e-2) == "");
  const SequenceLayout far({600, 5});
  const auto z = torch::randn({605, 16});
  CHECK(difference(nn::attend(z, z, z, far, 2, 0), plain_attention(z, z, z, {600, 5}, 2), 1e-5) == "");
}

// With the identity as values the output is the kept weights themselves: what was dropped can be read off.
TEST_CASE("attention: gradients through dropped weights equal PyTorch's on the same weights") {
  const int64_t tokens = 21, dim = 32;
  const SequenceLayout layout({tokens});
  torch::manual_seed(5);
  const auto make = [&] { return torch::randn({tokens, dim}).requires_grad_(); };
  const auto q = make(), k = make(), v = make(), upstream = torch::randn({tokens, dim});
  const auto draw = [&](const torch::Tensor& values) {
    torch::manual_seed(9);
    return nn::attend(q, k, values, layout, 1, 0.3);
  };
  const auto weights = torch::softmax(q.matmul(k.t()) / std::sqrt(static_cast<double>(dim)), 1);
  const auto kept = draw(torch::eye(tokens, dim)).detach().narrow(1, 0, tokens) / weights.detach();
  CHECK(kept.lt(0.01).to(torch::kFloat32).mean().item<double>() == Approx(0.3).margin(0.06));
  const auto mask = kept.gt(0.5).to(torch::kFloat32) / 0.7;
  const auto got = draw(v), want = (weights * mask).matmul(v);
  CHECK(difference(got, want, 1e-4) == "");
  const auto got_grads = torch::autograd::grad({got}, {q, k, v}, {upstream});
  const auto want_grads = torch::autograd::grad({want}, {q, k, v}, {upstream});
  for (size_t i = 0; i < 3; ++i) CHECK(difference(got_grads[i], want_grads[i], 2e-4) == "");
}

TEST_CASE("attention: heads must divide the width") {
  const auto message = message_of([] { nn::SelfAttention(24, 5, 0); });
  CHECK(contains(message, "got 5"));
  CHECK(contains(message, "24"));
}

TEST_CASE("layers: initialise gives matrices spread, norms one, biases zero, from the generator alone") {
  nn::SelfAttention a(16, 2, 0), b(16, 2, 0);
  for (auto* module : {&a, &b}) nn::initialise(*module, 0.5, at::detail::createCPUGenerator(3));
  CHECK(torch::equal(a.named_parameters()["q.weight"], b.named_parameters()["q.weight"]));
  CHECK_FALSE(torch::equal(a.named_parameters()["q.weight"], a.named_parameters()["k.weight"]));
  CHECK(a.named_parameters()["q.weight"].std().item<double>() == Approx(0.5).epsilon(0.2));
  CHECK(a.named_parameters()["o.bias"].count_nonzero().item<int64_t>() == 0);
  nn::LayerNorm norm(4, 1e-5);
  nn::initialise(norm, 0.5, at::detail::createCPUGenerator(3));
  CHECK(torch::equal(norm.weight, torch::ones({4})));
}
