#include "d2dmoe/kernels/cpu/isa.h"

#include <array>
#include <cstdlib>
#include <string>

#include "d2dmoe/core/error.h"

#ifdef D2DMOE_X86
#include <cpuid.h>
#endif
#if defined(D2DMOE_X86) && defined(__linux__)
#include <sys/syscall.h>
#include <unistd.h>
#endif

namespace d2dmoe::kernels::cpu {
namespace {

constexpr std::array<std::string_view, 5> kNames = {"portable", "avx2", "avx512", "avx512_bf16", "amx"};

#ifdef D2DMOE_X86
// Intel, Architecture Instruction Set Extensions: CPUID.(7,0):EDX bit 22 is AMX-BF16, bit 24 AMX-TILE;
// CPUID.(7,1):EAX bit 5 is AVX512_BF16.
bool has_avx512_bf16() {
  unsigned eax = 0, ebx = 0, ecx = 0, edx = 0;
  return __get_cpuid_count(7, 1, &eax, &ebx, &ecx, &edx) && (eax >> 5 & 1);
}

// Linux hands out the tiles' state to processes that ask (Documentation/arch/x86/xstate.rst): the answer to
// arch_prctl(ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA) is 0 where processor and kernel have it.
bool has_amx() {
#ifdef __linux__
  unsigned eax = 0, ebx = 0, ecx = 0, edx = 0;
  if (!__get_cpuid_count(7, 0, &eax, &ebx, &ecx, &edx)) return false;
  if (!(edx >> 22 & 1) || !(edx >> 24 & 1)) return false;
  constexpr long kRequestPermission = 0x1023, kTileData = 18;
  return syscall(SYS_arch_prctl, kRequestPermission, kTileData) == 0;
#else
  return false;
#endif
}
#endif

std::vector<Isa> find_isas() {
  std::vector<Isa> list = {Isa::portable};
#ifdef D2DMOE_X86
  __builtin_cpu_init();
  if (!__builtin_cpu_supports("avx2") || !__builtin_cpu_supports("fma")) return list;
  list.push_back(Isa::avx2);
  if (!__builtin_cpu_supports("avx512f") || !__builtin_cpu_supports("avx512bw") ||
      !__builtin_cpu_supports("avx512vl"))
    return list;
  list.push_back(Isa::avx512);
  if (!has_avx512_bf16()) return list;
  list.push_back(Isa::avx512_bf16);
  if (has_amx()) list.push_back(Isa::amx);
#endif
  return list;
}

bool is_intel() {
#ifdef D2DMOE_X86
  __builtin_cpu_init();
  return __builtin_cpu_is("intel") != 0;
#else
  return false;
#endif
}

}  // namespace

std::string_view isa_name(Isa isa) {
  return kNames.at(static_cast<size_t>(isa));
}

const std::vector<Isa>& available_isas() {
  static const std::vector<Isa> list = find_isas();
  return list;
}

// Looked up at every call: a test changes the environment within one process, and one getenv per layer costs
// nothing.
Isa isa() {
  const std::vector<Isa>& sets = available_isas();
  const char* wanted = std::getenv("D2DMOE_ISA");
  if (!wanted || !*wanted) return sets.back();
  std::string names;
  for (const Isa set : sets) {
    if (isa_name(set) == wanted) return set;
    names += (names.empty() ? "" : ", ") + std::string(isa_name(set));
  }
  D2D_CHECK(false, "[kernels] 'D2DMOE_ISA': got '{}', this processor has {}. Hint: unset it for the fastest",
            wanted, names);
}

bool mkl_lacks_avx512() {
  static const bool lacks = available_isas().back() >= Isa::avx512 && !is_intel();
  return lacks;
}

}  // namespace d2dmoe::kernels::cpu
