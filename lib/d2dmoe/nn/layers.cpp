#include "d2dmoe/nn/layers.h"

#include <ATen/Functions.h>

#include "d2dmoe/kernels/fast_linear.h"

namespace d2dmoe::nn {

Linear::Linear(int64_t in, int64_t out, bool with_bias) {
  weight = register_parameter("weight", torch::empty({out, in}));
  if (with_bias) bias = register_parameter("bias", torch::empty({out}));
}

torch::Tensor Linear::forward(const torch::Tensor& x) const {
  return kernels::fast_linear(x, weight, bias);
}

LayerNorm::LayerNorm(int64_t dim, double eps) : eps_(eps) {
  weight = register_parameter("weight", torch::empty({dim}));
  bias = register_parameter("bias", torch::empty({dim}));
}

torch::Tensor LayerNorm::forward(const torch::Tensor& x) const {
  return at::layer_norm(x, weight.sizes(), weight, bias, eps_);
}

RmsNorm::RmsNorm(int64_t dim, double eps, Scale scale) : eps_(eps), scale_(scale) {
  weight = register_parameter("weight", torch::empty({dim}));
}

torch::Tensor RmsNorm::forward(const torch::Tensor& x) const {
  if (scale_ == Scale::weight) return at::rms_norm(x, weight.sizes(), weight, eps_);
  const auto scale = weight.to(torch::kFloat32) + 1;
  return at::rms_norm(x.to(torch::kFloat32), weight.sizes(), scale, eps_).to(x.scalar_type());
}

Embedding::Embedding(int64_t rows, int64_t dim) {
  weight = register_parameter("weight", torch::empty({rows, dim}));
}

torch::Tensor Embedding::forward(const torch::Tensor& index) const {
  return at::embedding(weight, index);
}

void initialise(torch::nn::Module& module, double std, at::Generator generator) {
  const torch::NoGradGuard no_grad;
  const auto* norm = module.as<Norm>();
  for (auto& entry : module.named_parameters(/*recurse=*/false)) {
    auto& values = entry.value();
    if (values.dim() >= 2) {
      values.normal_(0, std, generator);
    } else {
      values.fill_(norm != nullptr && entry.key() == "weight" ? norm->neutral_weight() : 0);
    }
  }
  for (auto& part : module.children()) initialise(*part, std, generator);
}

}  // namespace d2dmoe::nn
