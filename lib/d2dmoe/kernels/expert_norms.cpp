#include <ATen/ATen.h>
#include <ATen/Parallel.h>

#include <algorithm>
#include <cmath>
#include <vector>

#include "d2dmoe/core/error.h"
#include "d2dmoe/kernels/expert_mlp.h"

namespace d2dmoe::kernels {
namespace {
// Floats of the [E, rows, S] product that one block of rows may take: 32 MiB.
constexpr int64_t kBlockFloats = int64_t{8} << 20;
// Share of zeros from which skipping them beats the batched product. After stage 1 it is above 0.9.
constexpr double kSparseShare = 0.6;
constexpr int64_t kSampleRows = 64;

// ||h_e W2_e||^2 = h_e G_e h_e^T, over the nonzeros of h_e: nothing but the norms is written.
template <class T>
void sparse_norms(const T* h, const float* grams, float* norms, int64_t rows, int64_t experts, int64_t size) {
  at::parallel_for(0, rows, 32, [&](int64_t begin, int64_t end) {
    std::vector<float> row(static_cast<size_t>(experts * size));
    for (int64_t r = begin; r < end; ++r) {
      const T* in = h + r * experts * size;
      for (int64_t i = 0; i < experts * size; ++i) row[i] = static_cast<float>(in[i]);
      for (int64_t e = 0; e < experts; ++e) {
        const float *v = row.data() + e * size, *gram = grams + e * size * size;
        float square = 0;
        for (int64_t i = 0; i < size; ++i) {
          if (v[i] == 0) continue;
          const float* g = gram + i * size;
          float dot = 0;
#pragma omp simd reduction(+ : dot)
          for (int64_t k = 0; k < size; ++k) dot += g[k] * v[k];
          square += v[i] * dot;
        }
        norms[r * experts + e] = square < 0 ? 0 : std::sqrt(square);  // NaN stays NaN
      }
    }
  });
}

bool runs_sparse(const torch::Tensor& h) {
  const bool known = h.scalar_type() == at::kFloat || h.scalar_type() == at::kBFloat16;
  if (!h.is_cpu() || !h.is_contiguous() || !known || h.numel() == 0) return false;
  const torch::Tensor sample = h.narrow(0, 0, std::min(kSampleRows, h.size(0)));
  return sample.eq(0).sum().item<int64_t>() >= kSparseShare * static_cast<double>(sample.numel());
}
}  // namespace

torch::Tensor expert_grams(const MlpWeights& w, int64_t experts) {
  D2D_CHECK(w.w2t.defined() && w.w2t.dim() == 2, "[expert_grams] 'w2t': must be [hidden, d_out]");
  D2D_CHECK(experts > 0 && w.hidden() % experts == 0,
            "[expert_grams] 'experts': got {}, must be a divisor of the {} neurons", experts, w.hidden());
  const torch::Tensor w2 = w.w2t.detach().to(at::kFloat).view({experts, w.hidden() / experts, w.d_out()});
  return at::bmm(w2, w2.transpose(1, 2));
}

torch::Tensor expert_norms(const torch::Tensor& h, const torch::Tensor& grams) {
  D2D_CHECK(grams.defined() && grams.dim() == 3 && grams.size(1) == grams.size(2) &&
                grams.scalar_type() == at::kFloat,
            "[expert_norms] 'grams': must be [experts, size, size] float32");
  const int64_t experts = grams.size(0), size = grams.size(1);
  D2D_CHECK(h.defined() && h.dim() == 2 && h.size(1) == experts * size,
            "[expert_norms] 'h': got {}, must be [rows, {}]",
            h.defined() ? format("shape {}", h.sizes().vec()) : "nothing", experts * size);
  const int64_t rows = h.size(0),
                block = std::max<int64_t>(1, kBlockFloats / std::max<int64_t>(1, h.size(1)));
  torch::Tensor norms = at::empty({rows, experts}, grams.options());
  if (runs_sparse(h)) {
    const torch::Tensor g = grams.contiguous();
    const auto run = [&](const auto* data) {
      sparse_norms(data, g.const_data_ptr<float>(), norms.mutable_data_ptr<float>(), rows, experts, size);
    };
    if (h.scalar_type() == at::kFloat) {
      run(h.const_data_ptr<float>());
    } else {
      run(h.const_data_ptr<c10::BFloat16>());
    }
    return norms;
  }
  for (int64_t first = 0; first < rows; first += block) {
    const int64_t count = std::min(block, rows - first);
    const torch::Tensor he =
        h.narrow(0, first, count).to(at::kFloat).view({count, experts, size}).transpose(0, 1);  // [E, n, S]
    const torch::Tensor squares = at::bmm(he, grams).mul_(he).sum(2);                           // [E, n]
    norms.narrow(0, first, count).copy_(squares.clamp_min_(0).sqrt_().t());
  }
  return norms;
}

}  // namespace d2dmoe::kernels
