#pragma once

#include <bit>
#include <cstdint>

/// bfloat16, the upper half of a float32, in forms that become vector instructions where c10::BFloat16's do
/// not.
namespace d2dmoe {

/// The float32 of a bfloat16's bits; exact.
inline float float_of_bfloat16(uint16_t bits) {
  return std::bit_cast<float>(static_cast<uint32_t>(bits) << 16);
}

/// The bits of the nearest bfloat16, ties to even, NaN to NaN: as c10::BFloat16 rounds.
inline uint16_t bfloat16_bits(float value) {
  const auto word = std::bit_cast<uint32_t>(value);
  const uint32_t rounded = (word + 0x7fff + ((word >> 16) & 1)) >> 16;
  return static_cast<uint16_t>(value == value ? rounded : 0x7fc0);
}

}  // namespace d2dmoe
