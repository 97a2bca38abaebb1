#pragma once

#include <cstddef>
#include <string>

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

/// Hidden activations of which those of chosen experts are wanted.
struct ActivateChosenArgs {
  void* h = nullptr;              ///< [rows, hidden]: sums in, activations out
  const void* up = nullptr;       ///< [rows, hidden], a factor of the activations (gated sites), or null
  const uint8_t* mask = nullptr;  ///< [rows, experts], 0 or 1; experts divides hidden
  int64_t rows = 0, hidden = 0, experts = 1;
  Activation activation = Activation::relu;
  Element element = Element::float32;
};

/// In place act(h), times `up` where there is one, in float32 and rounded once; 0 for experts that a row did
/// not choose, whatever stood there. Queued like expert_mlp.
const char* activate_chosen(const ActivateChosenArgs& args, void* stream);

/// Whether the stream's calls go into a CUDA graph that is being captured: nobody may wait for it then.
bool captures(void* stream);
/// What its times depend on: its name and the driver, "NVIDIA H200, driver 13000"; or "unknown".
std::string device_text(int device);

/// The same by plain kernels, several times slower, for tests and comparison.
size_t plain_workspace_bytes(const ExpertMlpArgs& args);
const char* plain_expert_mlp(const ExpertMlpArgs& args, void* workspace, void* stream);

}  // namespace d2dmoe::kernels::cuda
