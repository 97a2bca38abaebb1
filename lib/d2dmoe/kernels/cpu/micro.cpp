#include "d2dmoe/kernels/cpu/micro.h"

#include <vector>

#include "d2dmoe/kernels/cpu/isa.h"

namespace d2dmoe::kernels::cpu {
namespace {

const Micro& widest_below([[maybe_unused]] Isa isa) {
#ifdef D2DMOE_X86
  if (isa >= Isa::avx512) return kMicroAvx512;
  if (isa == Isa::avx2) return kMicroAvx2;
#endif
  return kMicroPortable;
}

}  // namespace

const Micro& micro() {
  return widest_below(isa());
}

const Micro* const* available_micros(int* count) {
  static const std::vector<const Micro*> list = [] {
    std::vector<const Micro*> found;
    for (const Isa set : available_isas())
      if (set <= Isa::avx512) found.push_back(&widest_below(set));
    return found;
  }();
  *count = static_cast<int>(list.size());
  return list.data();
}

}  // namespace d2dmoe::kernels::cpu
