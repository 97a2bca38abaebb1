#include "d2dmoe/sparsity/activation_replacement.h"

#include "d2dmoe/kernels/activation.h"

namespace d2dmoe::sparsity {

void replace_activation(models::Model& model, kernels::Activation activation) {
  for (auto* site : model.sites()) site->layer()->set_activation(activation);
  model.config()[model.hf().activation_key] = kernels::activation_name(activation);
}

}  // namespace d2dmoe::sparsity
