#include <ATen/ATen.h>
#include <ATen/Parallel.h>

#include <algorithm>
#include <atomic>
#include <limits>
#include <numeric>

#include "d2dmoe/core/error.h"
#include "d2dmoe/kernels/expert_mlp_checks.h"
#include "d2dmoe/kernels/expert_mlp_gradient.h"
#include "d2dmoe/kernels/row_lists.h"

namespace d2dmoe::kernels {
namespace {

// dL/dz from dL/da, a = act(z).
torch::Tensor activation_backward(const torch::Tensor& da, const torch::Tensor& z, const torch::Tensor& a,
                                  Activation activation) {
  switch (activation) {
    case Activation::relu:
      return at::threshold_backward(da, z, 0);
    case Activation::gelu_erf:
      return at::gelu_backward(da, z, "none");
    case Activation::gelu_tanh:
      return at::gelu_backward(da, z, "tanh");
    case Activation::silu:
      return at::silu_backward(da, z);
    case Activation::tanh:
      return at::tanh_backward(da, a);
  }
  D2D_CHECK(false, "[activation] unknown activation {}", activation);
}

// What all experts share during one call.
struct Backward {
  const torch::Tensor &dy, &x;
  const MlpWeights& w;
  const MlpWanted& wanted;
  MlpGradients& out;
  int64_t experts = 0, size = 0;
  RowLists lists;
  torch::Tensor index;   // [pairs] int32: lists.rows
  torch::Tensor dz, du;  // [pairs, S]: what the experts' inputs are asked for; only where dx is wanted

  int64_t first(int64_t e) const { return lists.offsets[static_cast<size_t>(e)]; }
  int64_t count(int64_t e) const { return lists.offsets[static_cast<size_t>(e) + 1] - first(e); }
  torch::Tensor of_expert(const torch::Tensor& t, int64_t e) const { return t.narrow(0, e * size, size); }
};

torch::Tensor project(const torch::Tensor& x, const torch::Tensor& weight, const torch::Tensor& bias) {
  return bias.defined() ? at::addmm(bias, x, weight.t()) : at::mm(x, weight.t());
}

// d [n, S] of an expert's neurons: their weights' and biases' gradients.
void add_up(const Backward& b, const torch::Tensor& d, const torch::Tensor& rows, int64_t e,
            const torch::Tensor& weight, const torch::Tensor& bias) {
  if (weight.defined()) {
    torch::Tensor mine = b.of_expert(weight, e);
    at::mm_out(mine, d.t(), rows);
  }
  if (bias.defined()) b.of_expert(bias, e).copy_(d.sum(0));
}

// One expert: everything but dx, for which dz and du are left behind. No other expert writes to these places.
void run_expert(const Backward& b, int64_t e) {
  const MlpWeights& w = b.w;
  const int64_t n = b.count(e);
  const auto forget = [&](const torch::Tensor& t) {
    if (t.defined()) b.of_expert(t, e).zero_();
  };
  if (n == 0) {
    for (const torch::Tensor* t : {&b.out.w1, &b.out.b1, &b.out.wu, &b.out.bu, &b.out.w2t}) forget(*t);
    return;
  }
  const MlpWanted& want = b.wanted;
  const bool before_activation = want.x || want.w1 || want.b1 || want.wu || want.bu;
  if (!before_activation && !want.w2t) return;
  const auto part = [&](const torch::Tensor& t) { return t.defined() ? b.of_expert(t, e) : t; };
  const torch::Tensor index = b.index.narrow(0, b.first(e), n);
  const torch::Tensor x = b.x.index_select(0, index), dy = b.dy.index_select(0, index);
  const torch::Tensor z = project(x, part(w.w1), part(w.b1));  // [n, S]
  const torch::Tensor a = activate(z, w.activation);           // [n, S]
  const torch::Tensor u = w.gated() ? project(x, part(w.wu), part(w.bu)) : torch::Tensor();
  if (want.w2t) add_up(b, w.gated() ? a * u : a, dy, e, b.out.w2t, {});
  if (!before_activation) return;
  const torch::Tensor dh = at::mm(dy, part(w.w2t).t());  // [n, S]
  const torch::Tensor dz = activation_backward(w.gated() ? dh * u : dh, z, a, w.activation);
  add_up(b, dz, x, e, b.out.w1, b.out.b1);
  if (want.x) b.dz.narrow(0, b.first(e), n).copy_(dz);
  if (!w.gated()) return;
  const torch::Tensor du = dh * a;
  add_up(b, du, x, e, b.out.wu, b.out.bu);
  if (want.x) b.du.narrow(0, b.first(e), n).copy_(du);
}

// All experts, the busiest first, each by whichever thread is free. One after the other, with products that
// use all threads, where an expert is so busy that the others would wait for its thread.
void run_experts(const Backward& b) {
  std::vector<int64_t> order(static_cast<size_t>(b.experts));
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(), [&](int64_t i, int64_t j) { return b.count(i) > b.count(j); });
  const int64_t pairs = b.lists.offsets.back(), threads = at::get_num_threads();
  const bool alone = threads == 1 || b.count(order.front()) * threads > pairs + pairs / 2;
  std::atomic<int64_t> next{0};
  const auto work = [&](int64_t, int64_t) {
    const at::NoGradGuard no_grad;  // threads begin without the caller's
    for (int64_t i = next++; i < b.experts; i = next++) run_expert(b, order[static_cast<size_t>(i)]);
  };
  if (alone)
    work(0, 1);
  else
    at::parallel_for(0, threads, 1, work);
}

// dx of rows first … last: their experts in order, so that no two threads write to one row.
void run_rows(const Backward& b, int64_t first, int64_t last, torch::Tensor& dx) {
  const at::NoGradGuard no_grad;
  const int64_t d_in = b.w.d_in();
  float* out = dx.mutable_data_ptr<float>();
  std::fill(out + first * d_in, out + last * d_in, 0.0f);
  const torch::Tensor sums = at::empty({last - first, d_in}, dx.options());
  const int32_t* rows = b.lists.rows.data();
  for (int64_t e = 0; e < b.experts; ++e) {
    const int32_t *begin = rows + b.first(e), *end = begin + b.count(e);
    const int32_t* from = std::lower_bound(begin, end, first);
    const int64_t n = std::lower_bound(from, end, last) - from, at = from - rows;
    if (n == 0) continue;
    torch::Tensor mine = sums.narrow(0, 0, n);
    at::mm_out(mine, b.dz.narrow(0, at, n), b.of_expert(b.w.w1, e));
    if (b.w.gated()) mine.addmm_(b.du.narrow(0, at, n), b.of_expert(b.w.wu, e));
    const float* in = mine.const_data_ptr<float>();
    for (int64_t i = 0; i < n; ++i) {
      float* row = out + from[i] * d_in;
      for (int64_t k = 0; k < d_in; ++k) row[k] += in[i * d_in + k];
    }
  }
}

torch::Tensor input_gradient(const Backward& b, const torch::Tensor& mask) {
  torch::Tensor dx = at::empty(b.x.sizes(), b.x.options());
  const auto runs = balanced_runs(reinterpret_cast<const uint8_t*>(mask.const_data_ptr<bool>()), b.x.size(0),
                                  b.experts, at::get_num_threads());
  at::parallel_for(0, static_cast<int64_t>(runs.size()) - 1, 1, [&](int64_t begin, int64_t end) {
    for (int64_t r = begin; r < end; ++r)
      run_rows(b, runs[static_cast<size_t>(r)], runs[static_cast<size_t>(r) + 1], dx);
  });
  return dx;
}

}  // namespace

MlpGradients expert_mlp_backward(const torch::Tensor& dy, const torch::Tensor& x, const torch::Tensor& mask,
                                 const MlpWeights& w, const MlpWanted& wanted) {
  constexpr const char* kPlace = "expert_mlp_backward";
  check_expert_mlp(kPlace, x, mask, w);
  D2D_CHECK(x.is_cpu() && x.scalar_type() == at::kFloat, "[{}] 'x': got {} on {}, must be float32 on the CPU",
            kPlace, c10::toString(x.scalar_type()), x.device().str());
  D2D_CHECK(dy.dim() == 2 && dy.size(0) == x.size(0) && dy.size(1) == w.d_out() &&
                dy.scalar_type() == at::kFloat && dy.is_cpu(),
            "[{}] 'dy': got shape {} of {}, must be {} of float32", kPlace, dy.sizes().vec(),
            c10::toString(dy.scalar_type()), std::vector<int64_t>{x.size(0), w.d_out()});
  const at::NoGradGuard no_grad;
  const torch::Tensor packed = mask.contiguous();
  const int64_t chosen = count_pairs(packed);
  D2D_CHECK(chosen <= std::numeric_limits<int32_t>::max(),
            "[{}] 'mask': got {} chosen pairs, must be at most 2^31 - 1", kPlace, chosen);
  const auto like = [](bool is_wanted, const torch::Tensor& t) {
    return is_wanted && t.defined() ? at::empty(t.sizes(), t.options()) : torch::Tensor();
  };
  MlpGradients out;
  out.w1 = like(wanted.w1, w.w1), out.b1 = like(wanted.b1, w.b1);
  out.wu = like(wanted.wu, w.wu), out.bu = like(wanted.bu, w.bu);
  out.w2t = like(wanted.w2t, w.w2t);
  if (wanted.b2) out.b2 = dy.sum(0);

  Backward b{dy, x, w, wanted, out, mask.size(1), w.hidden() / mask.size(1), {}, {}, {}, {}};
  build_row_lists(reinterpret_cast<const uint8_t*>(packed.const_data_ptr<bool>()), x.size(0), b.experts,
                  b.lists);
  const int64_t pairs = b.lists.offsets.back();
  b.index = at::from_blob(b.lists.rows.data(), {pairs}, at::TensorOptions(at::kInt));
  if (wanted.x) {
    b.dz = at::empty({pairs, b.size}, x.options());
    if (w.gated()) b.du = at::empty({pairs, b.size}, x.options());
  }
  run_experts(b);
  if (wanted.x) out.x = input_gradient(b, packed);
  return out;
}

}  // namespace d2dmoe::kernels
