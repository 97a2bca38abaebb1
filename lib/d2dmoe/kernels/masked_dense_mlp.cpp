#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <c10/core/DeviceGuard.h>

#include <algorithm>
#include <cstring>

#include "d2dmoe/core/error.h"
#include "d2dmoe/kernels/cpu/micro.h"
#include "d2dmoe/kernels/cuda/expert_mlp.h"
#include "d2dmoe/kernels/device_call.h"
#include "d2dmoe/kernels/expert_mlp.h"
#include "d2dmoe/kernels/expert_mlp_checks.h"
#include "d2dmoe/kernels/fast_linear.h"

namespace d2dmoe::kernels {
namespace {

// Calls f(row, first neuron, neurons, chosen) for every run of experts of a row that are all chosen or all
// not.
template <class F>
void for_each_run(const torch::Tensor& mask, int64_t hidden, const F& f) {
  const int64_t experts = mask.size(1), size = hidden / experts;
  const torch::Tensor packed = mask.contiguous();
  const bool* chosen = packed.const_data_ptr<bool>();
  constexpr int64_t kValuesPerTask = 1 << 15;
  at::parallel_for(0, mask.size(0), std::max<int64_t>(1, kValuesPerTask / std::max<int64_t>(1, hidden)),
                   [&](int64_t begin, int64_t end) {
                     for (int64_t n = begin; n < end; ++n) {
                       const bool* row = chosen + n * experts;
                       for (int64_t e = 0, next; e < experts; e = next) {
                         for (next = e + 1; next < experts && row[next] == row[e];) ++next;
                         f(n, e * size, (next - e) * size, row[e]);
                       }
                     }
                   });
}

// Zeroes the unchosen experts' share of h [N, F] in place, without an [N, F] mask.
void zero_unchosen(torch::Tensor& h, const torch::Tensor& mask) {
  if (!h.is_cpu() || !h.is_contiguous()) {
    const int64_t experts = mask.size(1);
    h.view({h.size(0), experts, h.size(1) / experts}).masked_fill_(mask.logical_not().unsqueeze(-1), 0);
    return;
  }
  char* data = static_cast<char*>(h.data_ptr());
  const int64_t bytes = h.element_size(), stride = h.size(1) * bytes;
  for_each_run(mask, h.size(1), [=](int64_t n, int64_t first, int64_t count, bool chosen) {
    if (!chosen) std::memset(data + n * stride + first * bytes, 0, static_cast<size_t>(count * bytes));
  });
}

// The hidden activations of the chosen experts, zeros for the others, in one pass: what is zeroed is not
// read.
void activate_on_cpu(torch::Tensor& h, const torch::Tensor& up, const torch::Tensor& mask, Activation act) {
  const cpu::Micro& micro = cpu::micro();
  float* data = h.mutable_data_ptr<float>();
  const float* factors = up.defined() ? up.const_data_ptr<float>() : nullptr;
  const int64_t hidden = h.size(1);
  for_each_run(mask, hidden, [&, data, factors](int64_t n, int64_t first, int64_t count, bool chosen) {
    const int64_t at = n * hidden + first;
    if (chosen)
      micro.activate(data + at, factors ? factors + at : nullptr, count, act);
    else
      std::memset(data + at, 0, sizeof(float) * static_cast<size_t>(count));
  });
}

// The same by a kernel of the device.
void activate_on_device(torch::Tensor& h, const torch::Tensor& up, const torch::Tensor& mask,
                        Activation act) {
  const torch::Tensor chosen = mask.contiguous();
  cuda::ActivateChosenArgs args;
  args.h = h.data_ptr(), args.up = up.defined() ? up.const_data_ptr() : nullptr;
  args.mask = reinterpret_cast<const uint8_t*>(chosen.const_data_ptr<bool>());
  args.rows = h.size(0), args.hidden = h.size(1), args.experts = mask.size(1);
  args.activation = act, args.element = *element_of(h.scalar_type());
  const c10::DeviceGuard guard(h.device());
  const char* failure = cuda::activate_chosen(args, stream_of(h));
  D2D_CHECK(!failure, "[masked_dense_mlp] on {}: {}", h.device().str(), failure);
}

}  // namespace

torch::Tensor masked_dense_mlp(const torch::Tensor& x, const torch::Tensor& mask, const MlpWeights& w) {
  check_expert_mlp("masked_dense_mlp", x, mask, w);
  const bool in_place = !wants_gradient(x, w);
  torch::Tensor h = fast_linear(x, w.w1, w.b1);  // [N, F]
  torch::Tensor up = w.gated() ? fast_linear(x, w.wu, w.bu) : torch::Tensor();
  if (in_place) {
    const bool packed = h.is_contiguous() && (!up.defined() || up.is_contiguous());
    if (packed && h.is_cpu() && h.scalar_type() == at::kFloat) {
      activate_on_cpu(h, up, mask, w.activation);
    } else if (packed && h.is_cuda() && has_kernel(h)) {
      activate_on_device(h, up, mask, w.activation);
    } else {
      // Before the activation, which keeps 0: NaN of an unchosen expert goes as well.
      zero_unchosen(h, mask);
      activate_in_place(h, w.activation);
      if (up.defined()) {
        zero_unchosen(up, mask);
        h.mul_(up);
      }
    }
  } else {
    h = activate(h, w.activation);
    if (up.defined()) h = h * up;
    const int64_t experts = mask.size(1);
    h = h.view({x.size(0), experts, w.hidden() / experts})
            .masked_fill(mask.logical_not().unsqueeze(-1), 0)
            .flatten(1);
  }
  return fast_linear_transposed(h, w.w2t, w.b2);
}

}  // namespace d2dmoe::kernels
