#include "d2dmoe/eval/conversion_check.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "d2dmoe/core/error.h"
#include "d2dmoe/eval/evaluate.h"
#include "d2dmoe/eval/setting.h"

namespace d2dmoe::eval {
namespace {

/// A converted layer's weights, run without its router: densely, or expert by expert with all experts on.
class WithoutRouter : public nn::FeedForward {
 public:
  WithoutRouter(kernels::MlpWeights weights, int64_t experts) : w_(std::move(weights)), experts_(experts) {}
  /// @param experts  0 = densely
  torch::Tensor forward(const torch::Tensor& x, const nn::SiteId&, nn::ForwardContext&) override {
    if (experts_ == 0) return kernels::dense_mlp(x, w_);
    return kernels::expert_mlp(x, torch::ones({x.size(0), experts_}, x.options().dtype(torch::kBool)), w_);
  }
  kernels::MlpWeights weights() const override { return w_; }
  void set_activation(kernels::Activation activation) override { w_.activation = activation; }

 private:
  kernels::MlpWeights w_;
  int64_t experts_;
};

/// Puts WithoutRouter layers in every converted site, and the converted ones back at the end.
class SwappedLayers {
 public:
  SwappedLayers(models::Model& model, bool dense) {
    for (auto* site : model.sites()) {
      const auto* layer = moe::as_experts(*site);
      if (layer == nullptr) continue;
      before_.emplace_back(site, site->layer());
      site->replace(std::make_shared<WithoutRouter>(layer->weights(), dense ? 0 : layer->experts()));
    }
  }
  ~SwappedLayers() {
    for (auto& [site, layer] : before_) site->replace(layer);
  }
  SwappedLayers(const SwappedLayers&) = delete;
  SwappedLayers& operator=(const SwappedLayers&) = delete;

 private:
  std::vector<std::pair<nn::Site*, std::shared_ptr<nn::FeedForward>>> before_;
};

torch::Tensor logits_of(models::Model& model, const data::Batch& batch) {
  nn::ForwardContext context(batch);
  return model.forward(batch, context).to(torch::kCPU, torch::kFloat32);
}

double largest(const torch::Tensor& t) {
  return t.abs().max().item<double>();
}

}  // namespace

double ConversionError::worst() const {
  return std::isnan(experts) || experts > selection_all ? experts : selection_all;  // std::max may drop a NaN
}

double conversion_tolerance(models::Model& model) {
  const auto dtype = model.parameters().front().scalar_type();
  // Float32 sums of a few thousand terms through a dozen blocks: 1e-4 of the logits' size is generous for
  // rounding and far below anything that a wrong permutation or a missing expert would do.
  if (dtype != torch::kBFloat16 && dtype != torch::kHalf) return 1e-4;
  // Half precision: the two ways round four tensors of a block differently (the hidden layer before and after
  // its activation, the output, the sum with the residual), each by a unit roundoff and independently, so
  // that their difference grows with the root of the number; the largest of many logits lies four deviations
  // out. Six blocks in bfloat16 may be off by 0.077. MiniLM in PyTorch, its hidden layers in float32 instead,
  // is off by 0.008, and by 0.09 to 0.15 with one expert of 64 damaged in one block.
  constexpr double kDeviations = 4, kRoundings = 4;
  const double roundoff = dtype == torch::kBFloat16 ? 1.0 / (1 << 8) : 1.0 / (1 << 11);
  const auto sites = model.sites();
  const auto blocks = std::count_if(
      sites.begin(), sites.end(), [](const nn::Site* site) { return site->id().kind == nn::SiteKind::ffn; });
  return kDeviations * roundoff * std::sqrt(kRoundings * static_cast<double>(blocks));
}

data::Batch conversion_batch(const data::Dataset& dataset, torch::Device device) {
  constexpr int64_t kSentences = 32, kTokens = 1024;  // a language model has V logits for each token
  std::vector<int64_t> rows(static_cast<size_t>(dataset.first(kSentences).first_tokens(kTokens).size()));
  std::iota(rows.begin(), rows.end(), int64_t{0});
  return dataset.collate(rows).to(device);
}

ConversionError conversion_error(models::Model& model, const data::Batch& batch,
                                 const torch::Tensor& dense_logits) {
  const torch::NoGradGuard no_grad;
  const EvaluationMode mode(model);
  torch::Tensor dense, experts, all;
  if (dense_logits.defined()) {
    dense = dense_logits.detach().to(torch::kCPU, torch::kFloat32);
  } else {
    const SwappedLayers swapped(model, /*dense=*/true);
    dense = logits_of(model, batch);
  }
  {
    const SwappedLayers swapped(model, /*dense=*/false);
    experts = logits_of(model, batch);
  }
  {
    const ScopedSetting setting(model, uniform_setting(model, moe::kEveryExpert));
    all = logits_of(model, batch);
  }
  const double scale = largest(dense);
  D2D_CHECK(
      std::isfinite(scale),
      "[conversion check] the dense model's logits are not finite. Hint: its weights hold NaN or infinity, "
      "or its activations overflow");
  return {largest(all - dense), largest(experts - dense), scale};
}

void check_conversion(models::Model& model, const data::Dataset& dataset, torch::Device device) {
  const auto error = conversion_error(model, conversion_batch(dataset, device));
  const double worst = error.worst(), allowed = conversion_tolerance(model) * std::max(1.0, error.scale);
  D2D_CHECK(
      worst <= allowed,  // false for NaN
      "[conversion check] 'all experts': its logits are up to {:.3g} away from the same weights run densely, "
      "must be within {:.3g}. Hint: the converted folder is damaged; run `d2dmoe convert` again",
      worst, allowed);
}

}  // namespace d2dmoe::eval
