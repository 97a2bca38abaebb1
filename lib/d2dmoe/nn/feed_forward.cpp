#include "d2dmoe/nn/feed_forward.h"

#include <ATen/Functions.h>

#include "d2dmoe/core/error.h"
#include "d2dmoe/kernels/fast_linear.h"

namespace d2dmoe::nn {

DenseFeedForward::DenseFeedForward(const Options& options) {
  const auto [d_in, hidden, d_out] = std::tuple(options.d_in, options.hidden, options.d_out);
  D2D_CHECK(d_in >= 1 && hidden >= 1 && d_out >= 1,
            "[feed forward] sizes: got d_in {}, hidden {}, d_out {}, must be >= 1", d_in, hidden, d_out);
  const auto matrix = [&](const char* name, int64_t rows, int64_t columns) {
    auto values = torch::empty({rows, columns});
    if (options.initialise) values.normal_(0, 0.02);
    return register_parameter(name, std::move(values));
  };
  const auto vector = [&](const char* name, int64_t size) {
    return options.bias ? register_parameter(name, torch::zeros({size})) : torch::Tensor();
  };
  w_.activation = options.activation;
  w_.w1 = matrix("w1", hidden, d_in);
  w_.b1 = vector("b1", hidden);
  if (options.gated) {
    w_.wu = matrix("wu", hidden, d_in);
    w_.bu = vector("bu", hidden);
  }
  w_.w2t = matrix("w2t", hidden, d_out);
  w_.b2 = vector("b2", d_out);
}

torch::Tensor DenseFeedForward::forward(const torch::Tensor& x, const SiteId& site, ForwardContext& ctx) {
  if (ctx.observers.empty()) return kernels::dense_mlp(x, w_);
  ctx.on_input(site, x);
  if (!ctx.wants_activations()) return kernels::dense_mlp(x, w_);
  const auto pre = kernels::fast_linear(x, w_.w1, w_.b1);   // [N, F]
  const auto post = kernels::activate(pre, w_.activation);  // [N, F]
  const auto hidden = w_.gated() ? post * kernels::fast_linear(x, w_.wu, w_.bu) : post;
  ctx.on_activation(site, pre, post, hidden);
  return kernels::fast_linear_transposed(hidden, w_.w2t, w_.b2);
}

Site::Site(SiteId id, std::shared_ptr<FeedForward> layer) : id_(std::move(id)), layer_(std::move(layer)) {
  D2D_CHECK(layer_ != nullptr, "[site] '{}': got no layer", id_.name);
  register_module("layer", layer_);
}

void Site::replace(std::shared_ptr<FeedForward> layer) {
  D2D_CHECK(layer != nullptr, "[site] '{}': got no layer to put here", id_.name);
  layer->train(is_training());
  layer_ = replace_module("layer", std::move(layer));
}

std::shared_ptr<Site> make_ffn_site(int64_t layer, DenseFeedForward::Options options) {
  options.initialise = false;
  return std::make_shared<Site>(SiteId{layer, format("layers.{}.ffn", layer), layer, SiteKind::ffn},
                                std::make_shared<DenseFeedForward>(options));
}

}  // namespace d2dmoe::nn
