#pragma once

#include <torch/types.h>

#include <string>
#include <string_view>

namespace d2dmoe::kernels {

enum class Activation { relu, gelu_erf, gelu_tanh, silu, tanh };

/// From a Hugging Face `hidden_act`: "relu", "gelu", "gelu_new", "gelu_pytorch_tanh", "gelu_fast", "silu", "swish".
/// @throws Error  an activation that we do not have
Activation parse_activation(std::string_view hf_name);
std::string activation_name(Activation activation);

torch::Tensor activate(const torch::Tensor& z, Activation activation);

}  // namespace d2dmoe::kernels
