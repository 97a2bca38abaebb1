#include "d2dmoe/nn/dropout.h"

#include <ATen/CPUGeneratorImpl.h>
#include <ATen/Dispatch.h>
#include <ATen/Functions.h>
#include <ATen/Parallel.h>
#include <torch/csrc/autograd/custom_function.h>

#include <algorithm>

#include "d2dmoe/core/bfloat16_bits.h"
#include "d2dmoe/nn/random_bits.h"
#include "d2dmoe/nn/simd.h"

namespace d2dmoe::nn {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

// Elements decided together: their random bits stay in the first cache.
constexpr int64_t kChunk = 1024;

// out[i] = x[i] times its factor, for the elements from `first` (a multiple of kRandomLanes) on.
template <class T>
[[gnu::always_inline]] inline void drop_chunk(const T* x, T* out, int64_t first, int64_t size, uint64_t seed,
                                              uint32_t threshold, float scale) {
  uint64_t bits[kChunk / kRandomLanes];
  const int64_t blocks = (size + kRandomLanes - 1) / kRandomLanes;
  for (int64_t i = 0; i < blocks; ++i)
    bits[i] = random_bits(seed, static_cast<uint64_t>(first / kRandomLanes + i));
  uint16_t lanes[kChunk];
  for (int64_t i = 0; i < blocks; ++i)
    for (int64_t lane = 0; lane < kRandomLanes; ++lane)
      lanes[i * kRandomLanes + lane] = static_cast<uint16_t>(bits[i] >> (16 * lane));
  for (int64_t i = 0; i < size; ++i)
    out[i] = static_cast<T>(static_cast<float>(x[i]) * (lanes[i] >= threshold ? scale : 0.0f));
}

D2D_CLONES void drop_some(const float* x, float* out, int64_t first, int64_t size, uint64_t seed,
                          uint32_t threshold, float scale) {
  drop_chunk(x, out, first, size, seed, threshold, scale);
}

D2D_CLONES void drop_some(const c10::BFloat16* x, c10::BFloat16* out, int64_t first, int64_t size,
                          uint64_t seed, uint32_t threshold, float scale) {
  float wide[kChunk];
  for (int64_t i = 0; i < size; ++i) wide[i] = float_of_bfloat16(x[i].x);
  drop_chunk(wide, wide, first, size, seed, threshold, scale);
  for (int64_t i = 0; i < size; ++i) out[i].x = bfloat16_bits(wide[i]);
}

template <class T>
void drop_some(const T* x, T* out, int64_t first, int64_t size, uint64_t seed, uint32_t threshold,
               float scale) {
  drop_chunk(x, out, first, size, seed, threshold, scale);
}

template <class T>
void drop(const T* x, T* out, int64_t size, uint64_t seed, uint32_t threshold) {
  const float scale = random_scale(threshold);
  at::parallel_for(0, (size + kChunk - 1) / kChunk, 32, [&](int64_t begin, int64_t end) {
    for (int64_t chunk = begin; chunk < end; ++chunk) {
      const int64_t first = chunk * kChunk;
      drop_some(x + first, out + first, first, std::min(kChunk, size - first), seed, threshold, scale);
    }
  });
}

torch::Tensor drop(const torch::Tensor& x, uint64_t seed, uint32_t threshold) {
  const auto in = x.contiguous();
  auto out = at::empty_like(in);
  AT_DISPATCH_FLOATING_TYPES_AND2(at::kHalf, at::kBFloat16, in.scalar_type(), "dropout", [&] {
    drop(in.const_data_ptr<scalar_t>(), out.mutable_data_ptr<scalar_t>(), in.numel(), seed, threshold);
  });
  return out;
}

// PyTorch draws a CPU mask on one thread and keeps it, at the size of x, for the backward pass. Here a mask
// is a function of a seed, so that the gradient draws the same mask again and nothing is kept.
struct Dropout : torch::autograd::Function<Dropout> {
  static torch::Tensor forward(AutogradContext* ctx, const torch::Tensor& x, int64_t seed,
                               int64_t threshold) {
    ctx->saved_data["seed"] = seed;
    ctx->saved_data["threshold"] = threshold;
    return drop(x, static_cast<uint64_t>(seed), static_cast<uint32_t>(threshold));
  }
  static variable_list backward(AutogradContext* ctx, const variable_list& grads) {
    return {drop(grads[0], static_cast<uint64_t>(ctx->saved_data["seed"].toInt()),
                 static_cast<uint32_t>(ctx->saved_data["threshold"].toInt())),
            {},
            {}};
  }
};

}  // namespace

uint64_t draw_dropout_seed() {
  auto generator = at::detail::getDefaultCPUGenerator();
  const std::lock_guard<std::mutex> lock(generator.mutex());
  return at::check_generator<at::CPUGeneratorImpl>(generator)->random64();
}

torch::Tensor dropout(const torch::Tensor& x, double p, bool training) {
  if (!training || p <= 0) return x;
  if (!x.is_cpu()) return at::dropout(x, p, true);
  return Dropout::apply(x, static_cast<int64_t>(draw_dropout_seed()),
                        static_cast<int64_t>(random_threshold(p)));
}

}  // namespace d2dmoe::nn
