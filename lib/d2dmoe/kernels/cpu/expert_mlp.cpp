#include "d2dmoe/kernels/cpu/expert_mlp.h"

#include "d2dmoe/core/error.h"
#include "d2dmoe/kernels/cpu/expert_mlp_bf16.h"
#include "d2dmoe/kernels/cpu/expert_mlp_float32.h"

namespace d2dmoe::kernels::cpu {

void expert_mlp(const ExpertMlpArgs& args) {
  switch (args.element) {
    case Element::float32:
      return expert_mlp_float32(args);
    case Element::bfloat16:
      return expert_mlp_bf16(args);
    case Element::float16:
      break;
  }
  D2D_CHECK(false, "[expert_mlp] on the CPU: no kernel for float16");
}

}  // namespace d2dmoe::kernels::cpu
