#include "d2dmoe/nn/projection.h"

#include "d2dmoe/core/error.h"

namespace d2dmoe::nn {

Projection::Projection(SiteKind kind, int64_t layer, int64_t in, int64_t out, bool with_bias)
    : Linear(in, out, with_bias),
      id_{-1, format("layers.{}.attention.{}", layer, site_kind_name(kind)), layer, kind},
      in_(in),
      out_(out),
      has_bias_(with_bias) {}

torch::Tensor Projection::forward(const torch::Tensor& x, ForwardContext& ctx) {
  if (site_) return site_->forward(x, ctx);
  auto y = Linear::forward(x);
  ctx.on_projection(id_, x, y);
  return y;
}

void Projection::replace(std::shared_ptr<FeedForward> perceptron) {
  D2D_CHECK(!site_, "[projection] '{}': is a perceptron already", id_.name);
  D2D_CHECK(perceptron != nullptr, "[projection] '{}': got no perceptron", id_.name);
  const auto w = perceptron->weights();
  D2D_CHECK(w.d_in() == in_ && w.d_out() == out_,
            "[projection] '{}': got a perceptron from {} to {}, must be from {} to {}", id_.name, w.d_in(),
            w.d_out(), in_, out_);
  perceptron->train(is_training());
  site_ = register_module("site", std::make_shared<Site>(id_, std::move(perceptron)));
  parameters_.clear();
  weight = bias = torch::Tensor();
}

std::vector<Site*> block_sites(const Projections& projections, Site& ffn) {
  std::vector<Site*> sites;
  for (const auto* projection : projections)
    if (projection->site() != nullptr) sites.push_back(projection->site());
  sites.push_back(&ffn);
  return sites;
}

}  // namespace d2dmoe::nn
