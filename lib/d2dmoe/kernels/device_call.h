#pragma once

#include <torch/types.h>

#include <optional>

#include "d2dmoe/kernels/expert_mlp_args.h"

namespace d2dmoe::kernels {

/// A dtype as the kernels name it, or nothing where none computes with it.
std::optional<Element> element_of(at::ScalarType type);
/// The stream in which LibTorch queues work on a tensor's device now, as the kernels take it.
/// @param t  not on the CPU
void* stream_of(const torch::Tensor& t);
/// Returns when everything in that stream is done.
void wait_for(const torch::Tensor& t);
/// Whether that stream is being captured into a CUDA graph: nobody may wait for it then.
bool is_captured(const torch::Tensor& t);

}  // namespace d2dmoe::kernels
