#include "d2dmoe/kernels/cpu/micro.h"

#include <array>
#include <cstdlib>
#include <string>

#include "d2dmoe/core/error.h"

namespace d2dmoe::kernels::cpu {
namespace {

struct Available {
  std::array<const Micro*, 3> list{};
  int count = 0;
  Available() {
    list[count++] = &kMicroPortable;
#ifdef D2DMOE_X86
    __builtin_cpu_init();
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) list[count++] = &kMicroAvx2;
    if (__builtin_cpu_supports("avx512f")) list[count++] = &kMicroAvx512;
#endif
  }
};

const Available& available() {
  static const Available instance;
  return instance;
}

const Micro& choose() {
  const Available& sets = available();
  const char* wanted = std::getenv("D2DMOE_ISA");
  if (!wanted || !*wanted) return *sets.list[sets.count - 1];
  std::string names;
  for (int i = 0; i < sets.count; ++i) {
    if (std::string(sets.list[i]->name) == wanted) return *sets.list[i];
    names += (i ? ", " : "") + std::string(sets.list[i]->name);
  }
  D2D_CHECK(false, "[kernels] 'D2DMOE_ISA': got '{}', this processor has {}. Hint: unset it for the fastest",
            wanted, names);
}

}  // namespace

// Looked up at every call: a test changes the environment within one process, and one getenv per layer costs
// nothing.
const Micro& micro() {
  return choose();
}

const Micro* const* available_micros(int* count) {
  *count = available().count;
  return available().list.data();
}

}  // namespace d2dmoe::kernels::cpu
