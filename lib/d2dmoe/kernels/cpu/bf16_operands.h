#pragma once

#include <cstdint>
#include <cstring>
#include <vector>

#include "d2dmoe/kernels/cpu/expert_mlp_bf16_micro.h"

namespace d2dmoe::kernels::cpu::bf16 {

/// The least multiple that is at least n.
inline int64_t round_up(int64_t n, int64_t multiple) {
  return (n + multiple - 1) / multiple * multiple;
}

/// Memory that a thread keeps between calls, aligned to cache lines and not cleared.
template <class T>
class Buffer {
 public:
  /// Room for `count` elements; earlier pointers of this buffer are no longer valid.
  T* of(int64_t count) {
    const auto bytes = static_cast<size_t>(count) * sizeof(T) + kLine;
    if (memory_.size() < bytes) memory_.resize(bytes);
    const auto address = reinterpret_cast<uintptr_t>(memory_.data());
    return reinterpret_cast<T*>((address + kLine - 1) / kLine * kLine);
  }

 private:
  static constexpr size_t kLine = 64;
  std::vector<unsigned char> memory_;
};

/// Whether rows that many elements apart share one or two sets of a first-level cache, whose sets repeat
/// every 4 KiB: the rows of a tile would drive each other out.
inline bool rows_meet_in_cache(int64_t stride) {
  return stride * static_cast<int64_t>(sizeof(uint16_t)) % 2048 == 0;
}

/// Elements from one row of Bf16Micro::multiply's left operand to the next.
inline int64_t operand_stride(int64_t depth) {
  const int64_t padded = round_up(depth, kDepthMultiple);
  return rows_meet_in_cache(padded) ? padded + kDepthMultiple : padded;
}

/// A row of `depth` elements as a row of that operand: zeros after it.
inline void copy_operand_row(const uint16_t* row, int64_t depth, uint16_t* to) {
  std::memcpy(to, row, static_cast<size_t>(depth) * sizeof(uint16_t));
  std::memset(to + depth, 0, static_cast<size_t>(round_up(depth, kDepthMultiple) - depth) * sizeof(uint16_t));
}

/// The registers that Bf16Micro::multiply needs, while this lives.
class Entered {
 public:
  explicit Entered(const Bf16Micro& micro) : micro_(micro) {
    if (micro_.enter) micro_.enter(registers_);
  }
  ~Entered() {
    if (micro_.leave) micro_.leave(registers_);
  }
  Entered(const Entered&) = delete;
  Entered& operator=(const Entered&) = delete;

 private:
  const Bf16Micro& micro_;
  Bf16Micro::Registers registers_;
};

}  // namespace d2dmoe::kernels::cpu::bf16
