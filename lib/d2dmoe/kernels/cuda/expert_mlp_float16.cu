#include "d2dmoe/kernels/cuda/elements.h"
#include "d2dmoe/kernels/cuda/run.h"

const char* d2dmoe::kernels::cuda::run_float16(const ExpertMlpArgs& args, void* workspace, void* stream) {
  return device::run<F16>(args, workspace, stream);
}
