#pragma once

#include "d2dmoe/kernels/activation_kind.h"
#include "d2dmoe/models/model.h"

namespace d2dmoe::sparsity {

/// Gives every site the activation and writes it into the model's config (hidden_act;
/// DistilBERT: activation), so that the saved folder means the same to other tools.
/// @ref docs/method.md §2
void replace_activation(models::Model& model, kernels::Activation activation);

}  // namespace d2dmoe::sparsity
