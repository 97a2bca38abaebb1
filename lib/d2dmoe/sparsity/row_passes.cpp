#include "d2dmoe/sparsity/row_passes.h"

#include <ATen/Functions.h>
#include <ATen/Parallel.h>

#include <algorithm>
#include <cmath>

#include "d2dmoe/core/bfloat16_bits.h"
#include "d2dmoe/nn/simd.h"

namespace d2dmoe::sparsity {
namespace {

using nn::simd::Floats;
using nn::simd::kWidth;
using nn::simd::LooseFloats;

struct Sums {
  float magnitudes = 0, squares = 0;
};

D2D_CLONES void sum_row(const float* a, int64_t size, Sums& sums) {
  Floats magnitudes = {}, squares = {};
  int64_t i = 0;
  for (; i + kWidth <= size; i += kWidth) {
    const Floats x = *reinterpret_cast<const LooseFloats*>(a + i);
    magnitudes += x < 0.0f ? -x : x;
    squares += x * x;
  }
  for (int64_t lane = 0; lane < kWidth; ++lane)
    sums.magnitudes += magnitudes[lane], sums.squares += squares[lane];
  for (; i < size; ++i) sums.magnitudes += std::abs(a[i]), sums.squares += a[i] * a[i];
}

D2D_CLONES void combine_row(const float* a, float* out, int64_t size, float of_sign, float of_value) {
  for (int64_t i = 0; i < size; ++i) {
    const float sign = a[i] > 0 ? of_sign : a[i] < 0 ? -of_sign : 0.0f;
    out[i] = sign - a[i] * of_value;
  }
}

D2D_CLONES void widen(const c10::BFloat16* a, float* out, int64_t size) {
  for (int64_t i = 0; i < size; ++i) out[i] = float_of_bfloat16(a[i].x);
}

D2D_CLONES void narrow(const float* a, c10::BFloat16* out, int64_t size) {
  for (int64_t i = 0; i < size; ++i) out[i].x = bfloat16_bits(a[i]);
}

constexpr int64_t kPiece = 1024;  // of a bfloat16 row, widened at a time

void sum_row(const c10::BFloat16* a, int64_t size, Sums& sums) {
  float piece[kPiece];
  for (int64_t i = 0; i < size; i += kPiece) {
    const int64_t count = std::min(kPiece, size - i);
    widen(a + i, piece, count);
    sum_row(piece, count, sums);
  }
}

void combine_row(const c10::BFloat16* a, c10::BFloat16* out, int64_t size, float of_sign, float of_value) {
  float piece[kPiece];
  for (int64_t i = 0; i < size; i += kPiece) {
    const int64_t count = std::min(kPiece, size - i);
    widen(a + i, piece, count);
    combine_row(piece, piece, count, of_sign, of_value);
    narrow(piece, out + i, count);
  }
}

template <class T>
void sum_rows(const torch::Tensor& a, torch::Tensor& sums) {
  const int64_t width = a.size(1);
  const T* from = a.const_data_ptr<T>();
  float* to = sums.mutable_data_ptr<float>();
  at::parallel_for(0, a.size(0), 16, [&](int64_t begin, int64_t end) {
    for (int64_t row = begin; row < end; ++row) {
      Sums of_row;
      sum_row(from + row * width, width, of_row);
      to[2 * row] = of_row.magnitudes, to[2 * row + 1] = of_row.squares;
    }
  });
}

template <class T>
void combine_rows(const torch::Tensor& a, const torch::Tensor& of_sign, const torch::Tensor& of_value,
                  torch::Tensor& out) {
  const int64_t width = a.size(1);
  const T* from = a.const_data_ptr<T>();
  const float *sign = of_sign.const_data_ptr<float>(), *value = of_value.const_data_ptr<float>();
  T* to = out.mutable_data_ptr<T>();
  at::parallel_for(0, a.size(0), 16, [&](int64_t begin, int64_t end) {
    for (int64_t row = begin; row < end; ++row)
      combine_row(from + row * width, to + row * width, width, sign[row], value[row]);
  });
}

bool has_pass(const torch::Tensor& a) {
  return a.is_cpu() && (a.scalar_type() == at::kFloat || a.scalar_type() == at::kBFloat16);
}

}  // namespace

torch::Tensor row_sums(const torch::Tensor& a) {
  if (!has_pass(a)) {
    const auto wide = a.to(torch::kFloat32);
    return at::stack({at::norm(wide, 1, {1}), at::norm(wide, 2, {1}).square()}, 1);
  }
  const auto rows = a.contiguous();
  auto sums = at::empty({a.size(0), 2}, a.options().dtype(at::kFloat));
  a.scalar_type() == at::kFloat ? sum_rows<float>(rows, sums) : sum_rows<c10::BFloat16>(rows, sums);
  return sums;
}

torch::Tensor sign_and_value(const torch::Tensor& a, const torch::Tensor& of_sign,
                             const torch::Tensor& of_value) {
  if (!has_pass(a)) {
    const auto wide = a.to(torch::kFloat32);
    return (at::sign(wide) * of_sign.unsqueeze(1))
        .addcmul_(wide, of_value.unsqueeze(1), -1)
        .to(a.scalar_type());
  }
  const auto rows = a.contiguous(), sign = of_sign.contiguous(), value = of_value.contiguous();
  auto out = at::empty_like(rows);
  a.scalar_type() == at::kFloat ? combine_rows<float>(rows, sign, value, out)
                                : combine_rows<c10::BFloat16>(rows, sign, value, out);
  return out;
}

}  // namespace d2dmoe::sparsity
