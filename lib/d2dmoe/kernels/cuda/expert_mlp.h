#pragma once

#include <cstddef>

#include "d2dmoe/kernels/expert_mlp_args.h"

namespace d2dmoe::kernels::cuda {

/// Whether the CUDA kernels were built.
bool available();
/// Device memory that a call needs besides its operands.
size_t workspace_bytes(const ExpertMlpArgs& args);
/// expert_mlp on device pointers of the current device; returns when the work is queued on `stream` (a
/// cudaStream_t). Every output element is summed by one thread in expert order: the same bytes at every run.
/// @param workspace  workspace_bytes(args) bytes, 256-byte aligned
/// @return           nullptr, or why it failed
const char* expert_mlp(const ExpertMlpArgs& args, void* workspace, void* stream);

}  // namespace d2dmoe::kernels::cuda
