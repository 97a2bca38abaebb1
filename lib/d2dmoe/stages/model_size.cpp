#include "d2dmoe/stages/model_size.h"

#include <torch/types.h>
#include <unistd.h>

#include <algorithm>
#include <fstream>
#include <map>

#include "d2dmoe/bench/stopwatch.h"
#include "d2dmoe/nn/packed_attention.h"

namespace d2dmoe::stages {
namespace {

/// Activations that one layer holds of a token: so many rows of the model's width and so many of each site's
/// hidden width.
struct LayerRows {
  double width, hidden;
};

// Forward alone, at most at a time: a block's input, q, k, v, what they mix to and its projection; a site's
// sums and activations.
constexpr LayerRows kForwardRows{6, 2};
// Observers and routers are handed sums and activations, and make something of that size of each.
constexpr LayerRows kObservedRows{6, 4};
// For the backward pass. By count autograd keeps 8 rows of the width (what the projections to q, k and v,
// that to the output, both norms and the site read: 5; q, k and v: 3) and 2 of the hidden width (ReLU 1,
// whose result tells its slope; gated sites 4). The rest, gradients and what the allocator holds back, is not
// counted but fitted to measured peaks; model_size.h says how well.
constexpr LayerRows kTrainingRows{14, 3}, kReluTrainingRows{9, 1.5}, kReluDecoderTrainingRows{14, 1.5},
    kGatedTrainingRows{14, 6};

double elements(const LayerRows& rows, double width, double hidden) {
  return rows.width * width + rows.hidden * hidden;
}

/// The first of the keys that config.json has as a number, else 0.
double number_of(const nlohmann::ordered_json& config, std::initializer_list<const char*> keys) {
  for (const char* key : keys) {
    if (const auto found = config.find(key); found != config.end() && found->is_number())
      return found->get<double>();
  }
  return 0;
}

}  // namespace

ModelSize::ModelSize(models::Model& model) : parts_(model.cost_parts()) {
  const auto& config = model.config();
  attention_dropout_ = number_of(config, {"attn_pdrop", "attention_probs_dropout_prob", "attention_dropout"});
  capped_ = number_of(config, {"attn_logit_softcapping"}) > 0;
  causal_ = std::any_of(parts_.begin(), parts_.end(), [](const auto& part) { return part.causal; });
  for (const auto& parameter : model.parameters()) parameters_ += static_cast<double>(parameter.numel());
  std::map<int64_t, double> width_of_layer;
  for (const auto* site : model.sites()) {
    const auto w = site->layer()->weights();
    const double matrices_in = w.gated() ? 2 : 1;
    const auto d_in = static_cast<double>(w.d_in()), hidden = static_cast<double>(w.hidden());
    site_flops_ += 2 * hidden * (matrices_in * d_in + static_cast<double>(w.d_out()));
    hidden_ += hidden;
    relu_ = relu_ && w.activation == kernels::Activation::relu;
    gated_ = gated_ || w.gated();
    live_elements_ = std::max(live_elements_, elements(kForwardRows, d_in, hidden));
    observed_elements_ = std::max(observed_elements_, elements(kObservedRows, d_in, hidden));
    width_of_layer[site->id().layer] = d_in;
  }
  for (const auto& [layer, width] : width_of_layer) widths_ += width;
}

double ModelSize::training_bytes_per_token(bool relu) const {
  const LayerRows& rows = gated_    ? kGatedTrainingRows
                          : !relu   ? kTrainingRows
                          : causal_ ? kReluDecoderTrainingRows
                                    : kReluTrainingRows;
  return 4 * elements(rows, widths_, hidden_);
}

double ModelSize::score_bytes(int64_t sequences, int64_t longest, double dropout,
                              torch::Device device) const {
  const bool drops = device.is_cpu() && (dropout < 0 ? attention_dropout_ : dropout) > 0;
  const auto rows = torch::empty({0, 0});
  const bool packed = nn::packed_attention_fits(rows, rows, rows, longest);
  double per_pair = 0;  // as many elements are kept as operations counted: scores, mask, softmax, dropout
  for (const auto& part : parts_) {
    if (part.matmul || part.per_token_pair <= 0) continue;
    if (part.causal ? drops || capped_ : drops && !packed) per_pair += part.per_token_pair;
  }
  const auto length = static_cast<double>(longest);
  return 4 * per_pair * static_cast<double>(sequences) * length * length;
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

double measured_flops(torch::ScalarType dtype, torch::Device device) {
  constexpr size_t kRuns = 7;
  constexpr double kMostMs = 300;  // emulated bfloat16 takes seconds
  const int64_t n = device.is_cpu() ? 1024 : 4096;
  const torch::NoGradGuard no_grad;
  const torch::TensorOptions where(device);
  const auto a = torch::rand({n, n}, where).to(dtype), b = torch::rand({n, n}, where).to(dtype);
  if (!device.is_cpu()) bench::run_ms([&] { return torch::mm(a, b); });  // loads the library's kernels
  std::vector<double> times;
  double total = 0;
  while (times.size() < kRuns && total < kMostMs) {
    times.push_back(bench::run_ms([&] { return torch::mm(a, b); }));
    total += times.back();
  }
  const auto middle = times.begin() + static_cast<int64_t>(times.size() / 2);
  std::nth_element(times.begin(), middle, times.end());
  const auto size = static_cast<double>(n);
  return 2 * size * size * size / (*middle * 1e-3);
}

double resident_bytes() {
  std::ifstream file("/proc/self/statm");
  double whole = 0, resident = 0;  // pages
  return file >> whole >> resident ? resident * static_cast<double>(::sysconf(_SC_PAGESIZE)) : 0;
}

}  // namespace d2dmoe::stages
