#include "d2dmoe/bench/synthetic_layer.h"

#include <ATen/CPUGeneratorImpl.h>
#include <torch/special.h>
#include <torch/types.h>

#include <array>
#include <cmath>
#include <utility>

#include "d2dmoe/core/error.h"
#include "d2dmoe/core/random.h"

namespace d2dmoe::bench {
namespace {

constexpr std::array<std::pair<const char*, MaskKind>, 3> kMaskKinds = {
    {{"independent", MaskKind::independent}, {"clustered", MaskKind::clustered}, {"hot", MaskKind::hot}}};

constexpr int64_t kClusters = 8;
constexpr double kWithinCluster = 0.02;  // share of a row's variance that is its own

double root(int64_t n) {
  return std::sqrt(static_cast<double>(n));
}

/// Two linear layers whose scores favour no expert.
void set_router(moe::Router& router, MaskKind masks, at::Generator& generator) {
  auto& first = router.weights()[0];
  first.copy_(torch::randn(first.sizes(), generator) / root(first.size(1)));
  auto last = torch::randn(router.weights()[1].sizes(), generator);
  last -= last.mean(1, true);
  last /= last.norm(2, 1, true);
  if (masks == MaskKind::hot) last[0].fill_(1 / root(last.size(1)));
  router.weights()[1].copy_(last);
}

}  // namespace

MaskKind parse_mask_kind(const std::string& name) {
  std::vector<std::string> known;
  for (const auto& [word, kind] : kMaskKinds) {
    if (name == word) return kind;
    known.emplace_back(word);
  }
  const std::string near = nearest_word(name, known);
  throw UsageError(format("[bench] '--mask {}': no such kind. Hint: {}There are {}", name,
                          near.empty() ? "" : "did you mean '" + near + "'? ", join(known, ", ")));
}

std::string mask_kind_name(MaskKind kind) {
  return kMaskKinds[static_cast<size_t>(kind)].first;
}

SyntheticLayer::SyntheticLayer(const LayerShape& shape, const SyntheticOptions& options)
    : shape_(shape),
      options_(options),
      generator_(at::detail::createCPUGenerator(derive_seed(options.seed, "bench layer"))) {
  check_shape(shape);
  D2D_CHECK_USAGE(options.active > 0 && options.active <= 1, "[bench] '--active {}': must be in (0, 1]",
                  options.active);
  const torch::NoGradGuard no_grad;
  const auto where = torch::TensorOptions(options.device).dtype(options.dtype);
  const int64_t hidden = shape.hidden(), d = shape.d_model;
  const auto matrix = [&](double scale) {
    return torch::randn({hidden, d}, generator_).mul_(scale).to(where);
  };
  kernels::MlpWeights w;
  w.activation = shape.activation;
  w.w1 = matrix(1 / root(d));
  w.w2t = matrix(1 / root(hidden));
  if (shape.gated) w.wu = matrix(1 / root(d));
  if (shape.bias) {
    // The products are standard normal: this bias leaves the wanted share of them above 0.
    w.b1 = torch::special::ndtri(torch::full({hidden}, options.active)).clamp(-10, 10).to(where);
    w.b2 = torch::randn({d}, generator_).to(where);
    if (shape.gated) w.bu = torch::randn({hidden}, generator_).to(where);
  }
  auto router = std::make_shared<moe::Router>(d, shape.router_width, 2, shape.experts, options.seed);
  set_router(*router, options.masks, generator_);
  router->to(options.device);
  layer_ = std::make_shared<moe::ExpertFeedForward>(w, shape.experts, 0, router);
  layer_->set_mean_norm(1);  // floors are then scores
  layer_->eval();
}

std::shared_ptr<moe::ExpertFeedForward> SyntheticLayer::copy() const {
  const torch::NoGradGuard no_grad;
  auto w = layer_->weights();
  for (auto* t : {&w.w1, &w.b1, &w.wu, &w.bu, &w.w2t, &w.b2}) {
    if (t->defined()) *t = t->detach().clone();
  }
  const auto& from = *layer_->router();
  auto router = std::make_shared<moe::Router>(from.d_in(), from.width(), from.depth(), from.experts(), 0);
  router->to(options_.device);
  for (size_t i = 0; i < from.weights().size(); ++i) router->weights()[i].copy_(from.weights()[i]);
  auto layer = std::make_shared<moe::ExpertFeedForward>(w, shape_.experts, 0, router);
  layer->set_mean_norm(1);
  layer->eval();
  return layer;
}

torch::Tensor SyntheticLayer::rows(int64_t count) {
  const torch::NoGradGuard no_grad;
  auto x = torch::randn({count, shape_.d_model}, generator_);
  if (options_.masks == MaskKind::clustered) {
    const auto centres = torch::randn({kClusters, shape_.d_model}, generator_);
    const auto cluster = torch::randint(0, kClusters, {count}, generator_, torch::kLong);
    x = std::sqrt(kWithinCluster) * x + std::sqrt(1 - kWithinCluster) * centres.index_select(0, cluster);
  }
  return x.to(torch::TensorOptions(options_.device).dtype(options_.dtype));
}

moe::Selection SyntheticLayer::selection(const torch::Tensor& rows, double share) const {
  const torch::NoGradGuard no_grad;
  const moe::Selection everything{"dynamic_k", 0, 0};
  const auto scores = std::get<0>(layer_->route(rows, everything).scores.flatten().cpu().sort(0, true));
  const auto pairs = static_cast<int64_t>(std::llround(share * static_cast<double>(scores.numel())));
  moe::Selection selection = everything;
  if (pairs == 0) {
    selection.floor = 2 * scores[0].item<double>() + 1;
  } else if (pairs < scores.numel()) {
    selection.floor = 0.5 * (scores[pairs - 1].item<double>() + scores[pairs].item<double>());
  }
  return selection;
}

}  // namespace d2dmoe::bench
