#include "d2dmoe/core/error.h"
#include "d2dmoe/io/atomic_file.h"
#include "d2dmoe/io/safetensors.h"
#include "d2dmoe/models/hf_weights.h"

namespace d2dmoe::models {

std::map<std::string, torch::Tensor> hf_tensors(Model& model) {
  const torch::NoGradGuard no_grad;
  const auto weights = named_weights(model);
  std::map<std::string, torch::Tensor> tensors;
  for (const auto& entry : model.hf().names) {
    const auto& parameter = weights.at(entry.ours);
    tensors[entry.theirs] =
        (entry.transposed ? parameter.t() : parameter).detach().to(torch::kCPU, torch::kFloat32).contiguous();
  }
  return tensors;
}

void save_model(Model& model, const std::filesystem::path& dir) {
  auto config = model.config();
  config["architectures"] = nlohmann::ordered_json::array({model.hf().architecture});
  for (const char* key : {"dtype", "torch_dtype"})  // new and old name of the dtype on disk
    if (config.contains(key)) config[key] = "float32";
  io::write_safetensors(dir / "model.safetensors", hf_tensors(model));
  io::write_file(dir / "config.json", config.dump(2) + "\n");
}

}  // namespace d2dmoe::models
