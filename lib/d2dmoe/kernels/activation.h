#pragma once

#include <torch/types.h>

#include <string>
#include <string_view>
#include <vector>

#include "d2dmoe/kernels/activation_kind.h"

namespace d2dmoe::kernels {

/// From a Hugging Face `hidden_act`: "relu", "gelu", "gelu_new", "gelu_pytorch_tanh", "gelu_fast", "silu",
/// "swish", "tanh".
/// @throws Error  an activation that we do not have
Activation parse_activation(std::string_view hf_name);
/// The Hugging Face name: parse_activation(activation_name(a)) == a.
std::string activation_name(Activation activation);
/// Every name that parse_activation knows.
std::vector<std::string> activation_names();

/// Any shape, any floating dtype.
torch::Tensor activate(const torch::Tensor& z, Activation activation);
/// The same in place, for tensors that take no part in autograd.
void activate_in_place(torch::Tensor& z, Activation activation);

}  // namespace d2dmoe::kernels
