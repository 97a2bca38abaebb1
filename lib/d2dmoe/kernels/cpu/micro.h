#pragma once

#include <cstdint>

#include "d2dmoe/kernels/activation_kind.h"

namespace d2dmoe::kernels::cpu {

/// The two inner products of an expert for a handful of token rows, for one instruction set. Every output
/// element is summed in an order that depends on the widths only, never on how rows are grouped: results do
/// not depend on tiles or threads.
struct Micro {
  const char* name;  ///< "portable", "avx2", "avx512"

  /// z[r * neurons + i] = sum_k x[r][k] * w[i * d_in + k] + b[i]
  /// @param b  [neurons] or null
  void (*project)(const float* const* x, int64_t rows, int64_t d_in, const float* w, const float* b,
                  int64_t neurons, float* z);
  /// y[r][c] += sum_i h[r * neurons + i] * w2t[i * d_out + c]; neurons with h == 0 are left out where that is
  /// faster.
  /// @param scratch  [neurons] int32, overwritten
  void (*accumulate)(float* const* y, int64_t rows, int64_t d_out, const float* h, const float* w2t,
                     int64_t neurons, int32_t* scratch);
  /// z = act(z) in place; with u: z = act(z) * u.
  void (*activate)(float* z, const float* u, int64_t count, Activation activation);
};

extern const Micro kMicroPortable, kMicroAvx2, kMicroAvx512;

/// The widest set that this processor has; $D2DMOE_ISA (portable, avx2, avx512) chooses another one.
/// @throws Error  $D2DMOE_ISA is not one of these, or the processor does not have it
const Micro& micro();
/// The sets that this processor has.
const Micro* const* available_micros(int* count);

}  // namespace d2dmoe::kernels::cpu
