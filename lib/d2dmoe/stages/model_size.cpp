#include "d2dmoe/stages/model_size.h"

#include <torch/torch.h>

#include <algorithm>
#include <chrono>

namespace d2dmoe::stages {
namespace {

int64_t first_of(const nlohmann::ordered_json& config, std::initializer_list<const char*> keys) {
  for (const char* key : keys) {
    if (const auto found = config.find(key); found != config.end() && found->is_number_integer())
      return *found;
  }
  return 0;
}

}  // namespace

ModelSize model_size(io::HfFolder& folder) {
  ModelSize size;
  for (const std::string& name : folder.tensor_names()) {
    const auto shape = folder.shape(name);
    double count = 1;
    for (const int64_t extent : shape) count *= static_cast<double>(extent);
    size.parameters += count;
    if (shape.size() == 2 && name.find("embeddings") == std::string::npos) size.matrix_elements += count;
  }
  size.hidden_size = first_of(folder.config(), {"hidden_size", "dim"});
  size.ffn_size = first_of(folder.config(), {"intermediate_size", "hidden_dim"});
  size.layers = first_of(folder.config(), {"num_hidden_layers", "n_layers"});
  return size;
}

double measured_flops() {
  const int64_t n = 1024;
  torch::NoGradGuard no_grad;
  const auto a = torch::rand({n, n}), b = torch::rand({n, n});
  std::vector<double> seconds;
  for (int i = 0; i < 7; ++i) {
    const auto start = std::chrono::steady_clock::now();
    torch::mm(a, b);
    seconds.push_back(std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count());
  }
  std::nth_element(seconds.begin(), seconds.begin() + 3, seconds.end());
  return 2.0 * n * n * n / seconds[3];
}

}  // namespace d2dmoe::stages
