#include "d2dmoe/kernels/cuda/expert_mlp.h"
#include "d2dmoe/kernels/cuda/plain_run.h"

namespace d2dmoe::kernels::cuda {

size_t plain_workspace_bytes(const ExpertMlpArgs& args) {
  return plain_plan_of(args).bytes;
}

const char* plain_expert_mlp(const ExpertMlpArgs& args, void* workspace, void* stream) {
  switch (args.element) {
    case Element::float32:
      return device::run_plain<float>(args, workspace, stream);
    case Element::bfloat16:
      return device::run_plain<Bf16>(args, workspace, stream);
    case Element::float16:
      return device::run_plain<F16>(args, workspace, stream);
  }
  return "an element type that no kernel computes with";
}

}  // namespace d2dmoe::kernels::cuda
