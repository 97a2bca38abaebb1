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

bool captures(void* stream) {
  cudaStreamCaptureStatus status = cudaStreamCaptureStatusNone;
  if (cudaStreamIsCapturing(static_cast<cudaStream_t>(stream), &status) == cudaSuccess)
    return status != cudaStreamCaptureStatusNone;
  cudaGetLastError();  // of the legacy stream beside a capture: nobody may wait for that one either
  return true;
}

std::string device_text(int device) {
  cudaDeviceProp properties;
  int driver = 0;
  if (cudaGetDeviceProperties(&properties, device) == cudaSuccess &&
      cudaDriverGetVersion(&driver) == cudaSuccess)
    return std::string(properties.name) + ", driver " + std::to_string(driver);
  cudaGetLastError();
  return "unknown";
}

}  // namespace d2dmoe::kernels::cuda
