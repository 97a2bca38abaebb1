#pragma once

#include <map>
#include <string>

#include "d2dmoe/models/model.h"

namespace d2dmoe::models {

/// Every parameter of the model under the name that HfName::ours uses; tensors share storage with the
/// parameters.
std::map<std::string, torch::Tensor> named_weights(Model& model);

/// Fills the parameters from the folder's tensors: names with and without the encoder's prefix,
/// LayerNorm.gamma/beta of old checkpoints, F16/BF16/F32/F64 converted to float32. Tensors that the model has
/// no use for are left alone.
/// @throws Error  a missing or mis-shaped tensor of the encoder; of the head, unless options.fresh_head
void load_weights(Model& model, const io::HfFolder& folder, const LoadOptions& options);

}  // namespace d2dmoe::models
