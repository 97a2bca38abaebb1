#include <ATen/Functions.h>

#include <algorithm>

#include "d2dmoe/io/atomic_file.h"
#include "d2dmoe/io/safetensors.h"
#include "d2dmoe/models/attention_sites.h"
#include "d2dmoe/models/hf_weights.h"

namespace d2dmoe::models {

std::map<std::string, torch::Tensor> hf_tensors(Model& model) {
  const torch::NoGradGuard no_grad;
  std::map<std::string, torch::Tensor> tensors;
  for (const auto& tensor : hf_tensor_table(model)) {
    std::vector<torch::Tensor> parts;
    for (const auto& [name, parameter] : tensor.parts) parts.push_back(parameter.detach());
    const auto whole = parts.size() == 1 ? parts.front() : at::cat(parts);
    tensors[tensor.name] = (tensor.transposed ? whole.t() : whole).to(torch::kCPU).contiguous();
  }
  for (const auto& name : model.hf().gone) tensors.try_emplace(name, torch::zeros({0}));
  return tensors;
}

namespace {

// What config.json calls the dtype of most weights.
std::string dtype_name(const std::map<std::string, torch::Tensor>& tensors) {
  std::map<torch::ScalarType, int64_t> elements;
  for (const auto& [name, tensor] : tensors) elements[tensor.scalar_type()] += tensor.numel();
  const auto most = std::max_element(elements.begin(), elements.end(),
                                     [](const auto& a, const auto& b) { return a.second < b.second; });
  if (most->first == torch::kBFloat16) return "bfloat16";
  return most->first == torch::kFloat16 ? "float16" : "float32";
}

}  // namespace

void save_model(Model& model, const std::filesystem::path& dir) {
  const auto tensors = hf_tensors(model);
  auto config = model.config();
  config["architectures"] = nlohmann::ordered_json::array({model.hf().architecture});
  for (const char* key : {"dtype", "torch_dtype"})  // new and old name of the dtype on disk
    if (config.contains(key)) config[key] = dtype_name(tensors);
  io::write_safetensors(dir / "model.safetensors", tensors);
  io::write_file(dir / "config.json", folder_config(config).dump(2) + "\n");
}

}  // namespace d2dmoe::models
