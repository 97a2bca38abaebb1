#pragma once

#include <cstdint>

namespace d2dmoe::kernels::cpu {

/// Instruction sets that kernels are written for, each one wider than those before it. (Apart from isa.h, so
/// that files compiled for one set include nothing of the standard library.)
enum class Isa : uint8_t { portable, avx2, avx512, avx512_bf16, amx };

}  // namespace d2dmoe::kernels::cpu
