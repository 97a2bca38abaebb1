#pragma once

#include <cstdint>

#include "d2dmoe/kernels/activation_kind.h"
#include "d2dmoe/kernels/cpu/isa_kind.h"

namespace d2dmoe::kernels::cpu {

/// Lanes of a panel: what one pass over packed weights computes side by side.
constexpr int64_t kPanelLanes = 32;
/// Depths of packed operands are padded with zeros to a multiple of this (a tile register holds 16 pairs).
constexpr int64_t kDepthMultiple = 32;
/// Rows that may be read (never used) after the last row of a packed left operand.
constexpr int64_t kSpareRows = 32;

/// The inner loops of an expert in bfloat16 for one instruction set. bfloat16 numbers are uint16_t here.
/// Sums are float32; an instruction that multiplies pairs may treat denormal numbers as 0.
///
/// A *panel* holds 32 columns of a right-hand side: panel[p * 32 + lane] are the elements of depth 2p (low
/// half) and 2p + 1 of the column in that lane, zeros where there is none. Which lane a column has is the
/// instruction set's own affair for pack_columns, start_sums, add_listed and finish_sums; pack_rows, dots and
/// finish_hidden keep column i in lane i.
///
/// Each output element is summed in one order by panels and by dots, however rows are grouped into calls;
/// add_listed pairs the neurons that any row of its group has, so the group decides which two of them are
/// multiplied as a pair.
struct Bf16Micro {
  /// What a set changes about the processor around many calls of multiply(), as it found it.
  struct alignas(64) Registers {
    unsigned char saved[64];
  };

  /// Experts with fewer rows than this are cheaper by dots and add_listed, without packing.
  int64_t least_packed_rows;

  /// Around calls of multiply() on one thread; null where there is nothing to do.
  void (*enter)(Registers& registers);
  void (*leave)(const Registers& registers);

  /// panel <- the rows w[i * stride], i < columns, each one a column of the right-hand side.
  /// @param columns  1 … 32
  void (*pack_rows)(const uint16_t* w, int64_t stride, int64_t columns, int64_t depth, uint32_t* panel);
  /// panel <- columns 0 … columns - 1 of w [depth, stride].
  void (*pack_columns)(const uint16_t* w, int64_t stride, int64_t columns, int64_t depth, uint32_t* panel);
  /// c[r][lane] += sum over depth of a[r * a_stride + d] * panel[d][lane], for 32 lanes (lanes from
  /// `columns` on may keep what they had).
  /// @param a       rows padded with zeros to a multiple of kDepthMultiple, kSpareRows readable after them
  /// @param depth   not padded
  /// @param c       [rows] pointers to 32 sums
  void (*multiply)(const uint16_t* a, int64_t a_stride, int64_t rows, int64_t depth, const uint32_t* panel,
                   int64_t columns, float* const* c);
  /// z[r * 32 + i] += sum_k x[r][k] * w[i * depth + k], for i < columns <= 32.
  void (*dots)(const uint16_t* const* x, int64_t rows, int64_t depth, const uint16_t* w, int64_t columns,
               float* z);
  /// h[r * h_stride + i] = act(z[r * 32 + i]) (with u: times u[r * 32 + i]), rounded to bfloat16, i < 32.
  void (*finish_hidden)(const float* z, const float* u, int64_t rows, Activation activation, uint16_t* h,
                        int64_t h_stride);

  /// Sums of `columns` columns (in rounds of 32 lanes) start at b2, or at 0.
  void (*start_sums)(const uint16_t* b2, int64_t columns, float* sums);
  /// sums[r][c] += sum_i h[r * h_stride + i] * w[i * stride + c] over neurons that are not 0 in every row.
  /// @param columns  any number
  /// @param scratch  [8 * neurons] uint32, overwritten
  void (*add_listed)(float* const* sums, int64_t rows, const uint16_t* h, int64_t h_stride, int64_t neurons,
                     const uint16_t* w, int64_t stride, int64_t columns, uint32_t* scratch);
  /// y[c] = the sums, rounded to bfloat16.
  void (*finish_sums)(const float* sums, int64_t columns, uint16_t* y);
};

extern const Bf16Micro kBf16Portable, kBf16Avx2, kBf16Avx512, kBf16Avx512Bf16, kBf16Amx;

/// The inner loops for one of available_isas().
const Bf16Micro& bf16_micro(Isa isa);

}  // namespace d2dmoe::kernels::cpu
