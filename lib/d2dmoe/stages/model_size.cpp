#include "d2dmoe/stages/model_size.h"

#include <torch/torch.h>

#include <algorithm>
#include <chrono>
#include <map>

namespace d2dmoe::stages {

ModelSize::ModelSize(models::Model& model) : parts_(model.cost_parts()) {
  for (const auto& parameter : model.parameters()) parameters_ += static_cast<double>(parameter.numel());
  std::map<int64_t, double> width_of_layer;
  for (const auto* site : model.sites()) {
    const auto w = site->layer()->weights();
    const double matrices_in = w.gated() ? 2 : 1;
    const auto d_in = static_cast<double>(w.d_in()), hidden = static_cast<double>(w.hidden());
    site_flops_ += 2 * hidden * (matrices_in * d_in + static_cast<double>(w.d_out()));
    hidden_ += hidden;
    relu_ = relu_ && w.activation == kernels::Activation::relu;
    live_elements_ = std::max(live_elements_, 6 * d_in + 2 * hidden);
    width_of_layer[site->id().layer] = d_in;
  }
  for (const auto& [layer, width] : width_of_layer) widths_ += width;
}

double ModelSize::training_bytes_per_token(bool relu) const {
  return 4 * (relu ? 9 * widths_ + 1.5 * hidden_ : 14 * widths_ + 3 * hidden_);
}

double ModelSize::flops(int64_t length) const {
  const auto tokens = static_cast<double>(length);
  double total = tokens * site_flops_;
  for (const auto& part : parts_) {
    if (!part.matmul) continue;
    total += part.per_sequence + tokens * part.per_token + part.pairs(tokens) * part.per_token_pair;
  }
  return total;
}

double ModelSize::flops(const data::Dataset& dataset) const {
  std::map<int64_t, int64_t> examples_of_length;
  for (int64_t i = 0; i < dataset.size(); ++i) ++examples_of_length[dataset.length(i)];
  double total = 0;
  for (const auto& [length, count] : examples_of_length) total += static_cast<double>(count) * flops(length);
  return total;
}

std::shared_ptr<models::Model> outline_of(const io::HfFolder& folder, const models::LoadOptions& options) {
  return models::outline_model(folder.config(), (folder.dir() / "config.json").string(), options);
}

double stored_parameters(io::HfFolder& folder) {
  double total = 0;
  for (const std::string& name : folder.tensor_names()) {
    double count = 1;
    for (const int64_t extent : folder.shape(name)) count *= static_cast<double>(extent);
    total += count;
  }
  return total;
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
