#include "d2dmoe/nn/packed_attention_head.h"

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <limits>
#include <new>

#include "d2dmoe/kernels/cpu/isa.h"
#include "d2dmoe/nn/random_bits.h"
#include "d2dmoe/nn/simd.h"

// The same code for each instruction set. Attributes of functions (D2D_CLONES) would not do: the compiler
// takes vectors of 64 bytes apart before it makes the clones.
namespace d2dmoe::nn {
namespace packed_baseline {
using namespace simd;
#include "d2dmoe/nn/packed_attention_head.inc"
}  // namespace packed_baseline

#ifdef D2D_HAS_CLONES
#pragma GCC push_options
#pragma GCC target("arch=x86-64-v3")
namespace packed_avx2 {
using namespace simd;
#include "d2dmoe/nn/packed_attention_head.inc"
}  // namespace packed_avx2
#pragma GCC pop_options
#pragma GCC push_options
#pragma GCC target("arch=x86-64-v4")
namespace packed_avx512 {
using namespace simd;
#include "d2dmoe/nn/packed_attention_head.inc"
}  // namespace packed_avx512
#pragma GCC pop_options
#endif

namespace {

#ifdef D2D_HAS_CLONES
// What the machine offers and D2DMOE_ISA allows: 0 the compiler's baseline, 1 AVX2 and FMA, 2 AVX-512.
int vector_level() {
  using kernels::cpu::Isa;
  static const bool has_dq = __builtin_cpu_supports("avx512dq") != 0;
  const Isa isa = kernels::cpu::isa();
  return isa >= Isa::avx512 && has_dq ? 2 : isa >= Isa::avx2 ? 1 : 0;
}
#endif

}  // namespace

void HeadScratch::Free::operator()(float* memory) const {
  std::free(memory);
}

float* HeadScratch::take(int64_t floats) {
  if (floats > size_) {
    constexpr size_t kAlignment = 64;
    const size_t bytes =
        (static_cast<size_t>(floats) * sizeof(float) + kAlignment - 1) / kAlignment * kAlignment;
    memory_.reset(static_cast<float*>(std::aligned_alloc(kAlignment, bytes)));
    if (!memory_) throw std::bad_alloc();
    size_ = floats;
  }
  return memory_.get();
}

template <class T>
void attend_head(const AttentionHead& head, HeadRows<T> q, HeadRows<T> k, HeadRows<T> v, HeadRows<T> out,
                 HeadScratch& scratch) {
#ifdef D2D_HAS_CLONES
  if (vector_level() == 2) return packed_avx512::forward(head, q, k, v, out, scratch);
  if (vector_level() == 1) return packed_avx2::forward(head, q, k, v, out, scratch);
#endif
  packed_baseline::forward(head, q, k, v, out, scratch);
}

template <class T>
void attend_head_backward(const AttentionHead& head, HeadRows<T> q, HeadRows<T> k, HeadRows<T> v,
                          HeadRows<T> out_grad, HeadRows<T> q_grad, HeadRows<T> k_grad, HeadRows<T> v_grad,
                          HeadScratch& scratch) {
#ifdef D2D_HAS_CLONES
  if (vector_level() == 2)
    return packed_avx512::backward(head, q, k, v, out_grad, q_grad, k_grad, v_grad, scratch);
  if (vector_level() == 1)
    return packed_avx2::backward(head, q, k, v, out_grad, q_grad, k_grad, v_grad, scratch);
#endif
  packed_baseline::backward(head, q, k, v, out_grad, q_grad, k_grad, v_grad, scratch);
}

template void attend_head(const AttentionHead&, HeadRows<float>, HeadRows<float>, HeadRows<float>,
                          HeadRows<float>, HeadScratch&);
template void attend_head(const AttentionHead&, HeadRows<c10::BFloat16>, HeadRows<c10::BFloat16>,
                          HeadRows<c10::BFloat16>, HeadRows<c10::BFloat16>, HeadScratch&);
template void attend_head_backward(const AttentionHead&, HeadRows<float>, HeadRows<float>, HeadRows<float>,
                                   HeadRows<float>, HeadRows<float>, HeadRows<float>, HeadRows<float>,
                                   HeadScratch&);
template void attend_head_backward(const AttentionHead&, HeadRows<c10::BFloat16>, HeadRows<c10::BFloat16>,
                                   HeadRows<c10::BFloat16>, HeadRows<c10::BFloat16>, HeadRows<c10::BFloat16>,
                                   HeadRows<c10::BFloat16>, HeadRows<c10::BFloat16>, HeadScratch&);

}  // namespace d2dmoe::nn
