#pragma once

#include <string_view>
#include <vector>

#include "d2dmoe/kernels/cpu/isa_kind.h"

namespace d2dmoe::kernels::cpu {

/// "portable", "avx2", "avx512", "avx512_bf16", "amx".
std::string_view isa_name(Isa isa);
/// The sets that this processor, and for AMX this operating system, lets us use, ascending.
const std::vector<Isa>& available_isas();
/// The widest of them, or the one that $D2DMOE_ISA names. A kernel takes the widest version that it has at or
/// below it: those for experts and routing, fast_linear and nn::packed_attention; not the loops that the
/// compiler clones (nn/simd.h), nor LibTorch.
/// @throws Error  $D2DMOE_ISA is none of the available ones
Isa isa();

/// Whether this processor has AVX-512 and is not Intel's: MKL then computes with AVX2.
bool mkl_lacks_avx512();

}  // namespace d2dmoe::kernels::cpu
