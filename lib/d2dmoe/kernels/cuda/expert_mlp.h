#pragma once

#include <cstddef>

#include "d2dmoe/kernels/expert_mlp_args.h"

namespace d2dmoe::kernels::cuda {

/// Whether the CUDA kernels were built and a device runs them: compute capability 8.0 and up.
bool available(int device);
/// Device memory that a call needs besides its operands: a function of the shapes alone.
size_t workspace_bytes(const ExpertMlpArgs& args);
/// expert_mlp on device pointers of the current device; returns when the work is queued on `stream` (a
/// cudaStream_t), without waiting for the device, and may be captured in a CUDA graph. Above 16 rows products
/// run on tensor cores, those of float32 numbers as three products of TF32 halves, which is about as exact as
/// float32 (2^-20 of each product is left out), and the activations between the two products are rounded to
/// the element type. Sums are float32. Every output element is summed in a fixed order (that of the experts
/// above 16 rows): the same bytes at every run.
/// @param workspace  workspace_bytes(args) bytes, 256-byte aligned
/// @return           nullptr, or why it failed
const char* expert_mlp(const ExpertMlpArgs& args, void* workspace, void* stream);

/// Whether a call of expert_mlp, launched by itself, takes less time than the dense layer where most experts
/// are skipped (docs/cuda.md has the figures): up to 16 rows, 1024 and more rows of float32, and what the
/// kernels for sm_90a take. Those for all devices are slower than the dense layer in 16-bit types but for
/// large experts.
/// @param args  y and the workspace may be missing
bool pays(const ExpertMlpArgs& args);

/// The same by plain kernels, several times slower, for tests and comparison.
size_t plain_workspace_bytes(const ExpertMlpArgs& args);
const char* plain_expert_mlp(const ExpertMlpArgs& args, void* workspace, void* stream);

}  // namespace d2dmoe::kernels::cuda
