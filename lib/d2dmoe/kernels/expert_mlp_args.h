#pragma once

#include <cstdint>

#include "d2dmoe/kernels/activation_kind.h"

namespace d2dmoe::kernels {

/// What the operands of a kernel are made of. Sums are float32 whatever the operands are.
enum class Element : uint8_t { float32, bfloat16, float16 };

/// Raw pointers and sizes of one expert_mlp call on one device: x, the weights, the biases and y are all of
/// type `element`. No torch here: .cu files see this.
struct ExpertMlpArgs {
  const void* x = nullptr;        ///< [rows, d_in], rows x_stride elements apart
  const uint8_t* mask = nullptr;  ///< [rows, experts], 0 or 1
  const void* w1 = nullptr;       ///< [hidden, d_in]
  const void* b1 = nullptr;       ///< [hidden] or null
  const void* wu = nullptr;       ///< [hidden, d_in], gated sites, else null
  const void* bu = nullptr;       ///< [hidden] or null
  const void* w2t = nullptr;      ///< [hidden, d_out]
  const void* b2 = nullptr;       ///< [d_out] or null
  void* y = nullptr;              ///< [rows, d_out]
  int64_t rows = 0, x_stride = 0, d_in = 0, hidden = 0, d_out = 0, experts = 0;
  Activation activation = Activation::relu;
  Element element = Element::float32;

  int64_t expert_size() const { return hidden / experts; }
  bool gated() const { return wu != nullptr; }
};

/// The same with typed pointers, for a kernel written for elements of type T.
template <class T>
struct TypedMlpArgs {
  const T* x;
  const uint8_t* mask;
  const T *w1, *b1, *wu, *bu, *w2t, *b2;
  T* y;
  int64_t rows, x_stride, d_in, hidden, d_out, experts;
  Activation activation;

  /// @param a  its element is T
  explicit TypedMlpArgs(const ExpertMlpArgs& a)
      : x(static_cast<const T*>(a.x)),
        mask(a.mask),
        w1(static_cast<const T*>(a.w1)),
        b1(static_cast<const T*>(a.b1)),
        wu(static_cast<const T*>(a.wu)),
        bu(static_cast<const T*>(a.bu)),
        w2t(static_cast<const T*>(a.w2t)),
        b2(static_cast<const T*>(a.b2)),
        y(static_cast<T*>(a.y)),
        rows(a.rows),
        x_stride(a.x_stride),
        d_in(a.d_in),
        hidden(a.hidden),
        d_out(a.d_out),
        experts(a.experts),
        activation(a.activation) {}

  int64_t expert_size() const { return hidden / experts; }
};

}  // namespace d2dmoe::kernels
