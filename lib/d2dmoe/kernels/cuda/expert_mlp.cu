#include "d2dmoe/kernels/cuda/expert_mlp.h"

#include <cuda_runtime.h>

#include "d2dmoe/kernels/cuda/elements.h"
#include "d2dmoe/kernels/cuda/plan.h"

namespace d2dmoe::kernels::cuda {

bool available(int device) {
  int major = 0;
  if (cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, device) == cudaSuccess)
    return major >= 8;
  cudaGetLastError();  // answered here: nobody else need hear of it
  return false;
}

size_t workspace_bytes(const ExpertMlpArgs& args) {
  return plan_of(args).bytes;
}

const char* expert_mlp(const ExpertMlpArgs& args, void* workspace, void* stream) {
  if (hopper_takes(args, workspace)) return run_hopper(args, workspace, stream);
  switch (args.element) {
    case Element::float32:
      return run_float32(args, workspace, stream);
    case Element::bfloat16:
      return run_bfloat16(args, workspace, stream);
    case Element::float16:
      return run_float16(args, workspace, stream);
  }
  return "an element type that no kernel computes with";
}

bool pays(const ExpertMlpArgs& args) {
  // Of float32: a model of experts of 24 neurons lost with about 20 and 200 rows and gained with about 1500
  // (docs/cuda.md).
  constexpr int64_t kFewestFloatRows = 1024;
  if (args.rows <= kDecodeRows) return true;
  return args.element == Element::float32 ? args.rows >= kFewestFloatRows : hopper_takes(args, nullptr);
}

}  // namespace d2dmoe::kernels::cuda
