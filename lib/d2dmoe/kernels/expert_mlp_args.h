#pragma once

#include <cstdint>

#include "d2dmoe/kernels/activation_kind.h"

namespace d2dmoe::kernels {

/// Raw pointers and sizes of one expert_mlp call, float32, on one device. No torch here: .cu files see this.
struct ExpertMlpArgs {
  const float* x = nullptr;       ///< [rows, d_in], rows x_stride apart
  const uint8_t* mask = nullptr;  ///< [rows, experts], 0 or 1
  const float* w1 = nullptr;      ///< [hidden, d_in]
  const float* b1 = nullptr;      ///< [hidden] or null
  const float* wu = nullptr;      ///< [hidden, d_in], gated sites, else null
  const float* bu = nullptr;      ///< [hidden] or null
  const float* w2t = nullptr;     ///< [hidden, d_out]
  const float* b2 = nullptr;      ///< [d_out] or null
  float* y = nullptr;             ///< [rows, d_out]
  int64_t rows = 0, x_stride = 0, d_in = 0, hidden = 0, d_out = 0, experts = 0;
  Activation activation = Activation::relu;

  int64_t expert_size() const { return hidden / experts; }
};

}  // namespace d2dmoe::kernels
