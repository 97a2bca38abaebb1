#include "d2dmoe/kernels/cuda/indexing.h"

#include "d2dmoe/kernels/row_lists.h"
#include "kernels/mlp_cases.h"

using namespace d2dmoe;
using namespace d2dmoe::kernels;
using test::MlpCase;

namespace {

// The three kernels of expert_mlp.cu replayed serially with their own index functions; every access is
// bound-checked by the tensors' sizes.
torch::Tensor replay(const torch::Tensor& x, const torch::Tensor& mask, const MlpWeights& w) {
  TypedMlpArgs<float> a{ExpertMlpArgs{}};
  a.rows = x.size(0), a.x_stride = x.stride(0), a.d_in = x.size(1), a.hidden = w.hidden(),
  a.d_out = w.d_out();
  a.experts = mask.size(1);
  const cuda::Workspace at = cuda::workspace_of(a);
  REQUIRE(at.rows >= at.counts + 4 * static_cast<size_t>(a.experts));
  REQUIRE(at.hidden >= at.rows + 4 * static_cast<size_t>(a.experts * a.rows));
  REQUIRE(at.bytes >= at.hidden + 4 * static_cast<size_t>(a.rows * a.hidden));
  REQUIRE((at.rows % 256 == 0 && at.hidden % 256 == 0));
  const int64_t size = a.expert_size();
  std::vector<int32_t> counts(a.experts, 0), rows(a.experts * a.rows, -1);
  std::vector<float> hidden(a.rows * a.hidden, NAN);
  auto y = torch::zeros({a.rows, a.d_out});
  const auto read = [](const torch::Tensor& t, int64_t i) {
    REQUIRE((i >= 0 && i < t.numel()));
    return t.data_ptr<float>()[i];
  };
  for (int64_t e = 0; e < a.experts; ++e)
    for (int64_t n = 0; n < a.rows; ++n)
      if (mask.data_ptr<bool>()[cuda::mask_at(a, n, e)])
        rows.at(cuda::list_at(a, e, counts[e]++)) = static_cast<int32_t>(n);
  for (int64_t e = 0; e < a.experts; ++e)
    for (int64_t tile = 0; tile < cuda::tiles(a.rows, cuda::kTileRows); ++tile)
      for (int64_t nt = 0; nt < cuda::tiles(size, cuda::kTileNeurons); ++nt)
        for (int64_t r = tile * cuda::kTileRows;
             r < std::min<int64_t>(counts[e], (tile + 1) * cuda::kTileRows); ++r)
          for (int64_t i = nt * cuda::kTileNeurons;
               i < std::min<int64_t>(size, (nt + 1) * cuda::kTileNeurons); ++i) {
            const int64_t n = rows.at(cuda::list_at(a, e, r)), neuron = cuda::neuron_of(a, e, i);
            float sum = 0;
            for (int64_t k = 0; k < a.d_in; ++k)
              sum += read(x, cuda::input_at(a, n, k)) * read(w.w1, cuda::w1_at(a, neuron, k));
            hidden.at(cuda::hidden_at(a, n, neuron)) = std::max(0.0f, sum + read(w.b1, neuron));
          }
  for (int64_t n = 0; n < a.rows; ++n)
    for (int64_t c = 0; c < a.d_out; ++c) {
      float sum = read(w.b2, c);
      for (int64_t e = 0; e < a.experts; ++e)
        for (int64_t i = 0; i < size && mask.data_ptr<bool>()[cuda::mask_at(a, n, e)]; ++i) {
          const int64_t neuron = cuda::neuron_of(a, e, i);
          sum += hidden.at(cuda::hidden_at(a, n, neuron)) * read(w.w2t, cuda::w2t_at(a, neuron, c));
        }
      y.data_ptr<float>()[cuda::output_at(a, n, c)] = sum;
    }
  // The lists are those of the CPU kernel.
  RowLists lists;
  build_row_lists(reinterpret_cast<const uint8_t*>(mask.data_ptr<bool>()), a.rows, a.experts, lists);
  for (int64_t e = 0; e < a.experts; ++e) {
    CHECK(counts[e] == lists.offsets[e + 1] - lists.offsets[e]);
    for (int32_t i = 0; i < counts[e]; ++i)
      CHECK(rows[cuda::list_at(a, e, i)] == lists.rows[lists.offsets[e] + i]);
  }
  return y;
}

}  // namespace

TEST_CASE("cuda indexing: the kernels' steps, replayed on the CPU, give the reference") {
  torch::manual_seed(21);
  for (const MlpCase& c : {MlpCase{.rows = 37, .d_in = 9, .size = 24, .experts = 3, .d_out = 11},
                           MlpCase{.rows = 16, .d_in = 5, .size = 17, .experts = 2, .d_out = 5},
                           MlpCase{.rows = 1, .d_in = 1, .size = 1, .experts = 1, .d_out = 1}})
    for (const double share : {0.0, 0.5, 1.0}) {
      INFO(c.text());
      const auto w = test::random_weights(c);
      const auto x = torch::randn({c.rows, c.d_in});
      const auto mask = test::random_mask(c, share);
      CHECK(test::difference(replay(x, mask, w), expert_mlp_reference(x, mask, w),
                             test::rounding_bound(x, w)) == "");
    }
}
