// Stands in for expert_mlp.cu in builds without CUDA.
#include "d2dmoe/kernels/cuda/expert_mlp.h"

namespace d2dmoe::kernels::cuda {

bool available() {
  return false;
}
size_t workspace_bytes(const ExpertMlpArgs&) {
  return 0;
}
const char* expert_mlp(const ExpertMlpArgs&, void*, void*) {
  return "the CUDA kernels are not part of this build";
}

}  // namespace d2dmoe::kernels::cuda
