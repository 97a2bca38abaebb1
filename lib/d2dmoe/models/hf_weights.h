#pragma once

#include <map>
#include <string>
#include <utility>
#include <vector>

#include "d2dmoe/models/model.h"

namespace d2dmoe::models {

/// Every parameter of the model under the name that HfName::ours uses; tensors share storage with the
/// parameters.
std::map<std::string, torch::Tensor> named_weights(Model& model);

/// One tensor of the checkpoint and the parameters that it holds: one, or several as parts (HfName).
struct HfTensor {
  std::string name, alias;
  bool transposed = false, optional = false;
  std::vector<std::pair<std::string, torch::Tensor>> parts;  ///< our names and parameters

  std::vector<int64_t> shape() const;  ///< there
};
std::vector<HfTensor> hf_tensor_table(Model& model);

/// Fills the parameters from the folder's tensors: names with and without the encoder's prefix,
/// LayerNorm.gamma/beta of old checkpoints, F16/BF16/F32/F64 converted to options.dtype. Tensors that the
/// model has no use for are left alone.
/// @throws Error  a missing or mis-shaped tensor of the encoder; of the head, unless options.fresh_head
void load_weights(Model& model, const io::HfFolder& folder, const LoadOptions& options);

}  // namespace d2dmoe::models
