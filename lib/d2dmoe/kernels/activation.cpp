#include "d2dmoe/kernels/activation.h"

#include <ATen/ATen.h>

#include <array>

#include "d2dmoe/core/error.h"

namespace d2dmoe::kernels {
namespace {

struct Name {
  std::string_view hf;
  Activation activation;
};
// The first name of an activation is the one that activation_name gives.
constexpr std::array<Name, 9> kNames = {{{"relu", Activation::relu},
                                         {"gelu", Activation::gelu_erf},
                                         {"gelu_new", Activation::gelu_tanh},
                                         {"gelu_pytorch_tanh", Activation::gelu_tanh},
                                         {"gelu_fast", Activation::gelu_tanh},
                                         {"gelu_python", Activation::gelu_erf},
                                         {"silu", Activation::silu},
                                         {"swish", Activation::silu},
                                         {"tanh", Activation::tanh}}};

}  // namespace

Activation parse_activation(std::string_view hf_name) {
  for (const Name& name : kNames)
    if (name.hf == hf_name) return name.activation;
  std::string known;
  for (const Name& name : kNames) known += (known.empty() ? "" : ", ") + std::string(name.hf);
  D2D_CHECK(false, "[activation] '{}': not an activation that is supported, must be one of {}", hf_name,
            known);
}

std::vector<std::string> activation_names() {
  std::vector<std::string> names;
  for (const Name& name : kNames) names.emplace_back(name.hf);
  return names;
}

std::string activation_name(Activation activation) {
  for (const Name& name : kNames)
    if (name.activation == activation) return std::string(name.hf);
  D2D_CHECK(false, "[activation] no name for activation {}", activation);
}

torch::Tensor activate(const torch::Tensor& z, Activation activation) {
  switch (activation) {
    case Activation::relu:
      return at::relu(z);
    case Activation::gelu_erf:
      return at::gelu(z, "none");
    case Activation::gelu_tanh:
      return at::gelu(z, "tanh");
    case Activation::silu:
      return at::silu(z);
    case Activation::tanh:
      return at::tanh(z);
  }
  D2D_CHECK(false, "[activation] unknown activation {}", activation);
}

void activate_in_place(torch::Tensor& z, Activation activation) {
  switch (activation) {
    case Activation::relu:
      at::relu_(z);
      return;
    case Activation::gelu_erf:
      at::gelu_(z, "none");
      return;
    case Activation::gelu_tanh:
      at::gelu_(z, "tanh");
      return;
    case Activation::silu:
      at::silu_(z);
      return;
    case Activation::tanh:
      at::tanh_(z);
      return;
  }
  D2D_CHECK(false, "[activation] unknown activation {}", activation);
}

}  // namespace d2dmoe::kernels
