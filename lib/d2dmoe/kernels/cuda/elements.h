#pragma once

#include "d2dmoe/kernels/expert_mlp_args.h"

namespace d2dmoe::kernels::cuda {

// run<T> of run.h, a file each: nvcc takes a minute for one.
const char* run_float32(const ExpertMlpArgs& args, void* workspace, void* stream);
const char* run_bfloat16(const ExpertMlpArgs& args, void* workspace, void* stream);
const char* run_float16(const ExpertMlpArgs& args, void* workspace, void* stream);
/// Whether the kernels of hopper/ take this call on the current device, and the call.
bool hopper_takes(const ExpertMlpArgs& args, void* workspace);
const char* run_hopper(const ExpertMlpArgs& args, void* workspace, void* stream);

}  // namespace d2dmoe::kernels::cuda
