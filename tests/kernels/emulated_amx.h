#pragma once

#include "d2dmoe/kernels/cpu/expert_mlp_bf16_micro.h"

namespace d2dmoe::test {

/// The AMX kernel on emulated tile registers.
extern const kernels::cpu::Bf16Micro kEmulatedAmx;

/// LDTILECFG and STTILECFG on this thread's emulated registers, 64 bytes.
void set_emulated_tiles(const unsigned char* config);
void get_emulated_tiles(unsigned char* config);

}  // namespace d2dmoe::test
