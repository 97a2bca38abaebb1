#pragma once

#include <cstdint>

#include "d2dmoe/kernels/activation_kind.h"

namespace d2dmoe::kernels::cpu {

/// The two products of an expert and what lies between them, for one instruction set. Every output element is
/// summed in an order that depends on the widths alone, never on how rows, neurons or columns are grouped
/// into calls: results depend neither on tiles nor on threads.
struct Micro {
  const char* name;  ///< "portable", "avx2", "avx512"

  /// z[r * z_stride + i] = sum_k x[r][k] * w[i * d_in + k] + b[i]
  /// @param b      [neurons] or null
  /// @param ahead  [ahead_neurons, d_in] weights that the next call needs, or null
  void (*project)(const float* const* x, int64_t rows, int64_t d_in, const float* w, const float* b,
                  int64_t neurons, float* z, int64_t z_stride, const float* ahead, int64_t ahead_neurons);
  /// z = act(z) in place; with u: z = act(z) * u.
  void (*activate)(float* z, const float* u, int64_t count, Activation activation);
  /// How many of h are not 0; NaN is not.
  int64_t (*count_nonzero)(const float* h, int64_t count);
  /// The hidden activations that are not 0, and their neurons, counted from `first`.
  /// @param values, list  [neurons + kListSlack], as many as returned are filled
  int64_t (*list_nonzero)(const float* h, int64_t neurons, int32_t first, float* values, int32_t* list);
  /// y[r][c] += sum_i h[r * neurons + i] * w2t[i * w_stride + c], neurons in ascending order.
  /// @param ahead  [neurons, columns] weights, w_stride apart, that the next call needs, or null
  void (*accumulate)(float* const* y, int64_t rows, int64_t columns, const float* h, const float* w2t,
                     int64_t w_stride, int64_t neurons, const float* ahead);
  /// y[c] += sum_j h[j] * w2t[list[j] * w_stride + c], in the order of the list.
  void (*accumulate_listed)(float* y, int64_t columns, const float* h, const int32_t* list, int64_t count,
                            const float* w2t, int64_t w_stride);

  static constexpr int64_t kListSlack = 16;  ///< lists are written a vector at a time
};

extern const Micro kMicroPortable, kMicroAvx2, kMicroAvx512;

/// The widest version at or below cpu::isa().
/// @throws Error  as cpu::isa
const Micro& micro();
/// The sets that this processor has.
const Micro* const* available_micros(int* count);

}  // namespace d2dmoe::kernels::cpu
