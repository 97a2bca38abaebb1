#include <ATen/ATen.h>
#include <ATen/Parallel.h>

#include <algorithm>
#include <cstring>

#include "d2dmoe/kernels/expert_mlp.h"
#include "d2dmoe/kernels/expert_mlp_checks.h"

namespace d2dmoe::kernels {
namespace {

// Zeroes the unchosen experts' share of h [N, F] in place, without an [N, F] mask.
void zero_unchosen(torch::Tensor& h, const torch::Tensor& mask) {
  const int64_t rows = h.size(0), experts = mask.size(1), size = h.size(1) / experts;
  if (!h.is_cpu() || !h.is_contiguous()) {
    h.view({rows, experts, size}).masked_fill_(mask.logical_not().unsqueeze(-1), 0);
    return;
  }
  const torch::Tensor packed = mask.contiguous();
  const bool* chosen = packed.const_data_ptr<bool>();
  const auto bytes = static_cast<size_t>(size * h.element_size());
  char* data = static_cast<char*>(h.data_ptr());
  at::parallel_for(0, rows * experts, 1024, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i)
      if (!chosen[i]) std::memset(data + static_cast<size_t>(i) * bytes, 0, bytes);
  });
}

// Zeroes and activates in one pass over h: what is zeroed need not be read.
void zero_unchosen_relu(torch::Tensor& h, const torch::Tensor& mask) {
  const int64_t experts = mask.size(1), size = h.size(1) / experts;
  const torch::Tensor packed = mask.contiguous();
  const bool* chosen = packed.const_data_ptr<bool>();
  float* data = h.mutable_data_ptr<float>();
  at::parallel_for(0, h.size(0) * experts, std::max<int64_t>(1, 32768 / std::max<int64_t>(1, size)),
                   [&](int64_t begin, int64_t end) {
                     for (int64_t i = begin; i < end; ++i) {
                       float* mine = data + i * size;
                       if (chosen[i])
                         for (int64_t j = 0; j < size; ++j) mine[j] = mine[j] < 0 ? 0.0f : mine[j];
                       else
                         std::memset(mine, 0, sizeof(float) * static_cast<size_t>(size));
                     }
                   });
}

}  // namespace

torch::Tensor masked_dense_mlp(const torch::Tensor& x, const torch::Tensor& mask, const MlpWeights& w) {
  check_expert_mlp("masked_dense_mlp", x, mask, w);
  const bool in_place = !wants_gradient(x, w);
  torch::Tensor h = at::linear(x, w.w1, w.b1);  // [N, F]
  torch::Tensor up = w.gated() ? at::linear(x, w.wu, w.bu) : torch::Tensor();
  if (in_place) {
    // Before the activation, which keeps 0: NaN of an unchosen expert goes as well.
    if (w.activation == Activation::relu && h.is_cpu() && h.scalar_type() == at::kFloat &&
        h.is_contiguous()) {
      zero_unchosen_relu(h, mask);
    } else {
      zero_unchosen(h, mask);
      activate_in_place(h, w.activation);
    }
    if (up.defined()) {
      zero_unchosen(up, mask);
      h.mul_(up);
    }
  } else {
    h = activate(h, w.activation);
    if (up.defined()) h = h * up;
    const int64_t experts = mask.size(1);
    h = h.view({x.size(0), experts, w.hidden() / experts})
            .masked_fill(mask.logical_not().unsqueeze(-1), 0)
            .flatten(1);
  }
  return w.b2.defined() ? at::addmm(w.b2, h, w.w2t) : at::mm(h, w.w2t);
}

}  // namespace d2dmoe::kernels
