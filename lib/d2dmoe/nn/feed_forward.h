#pragma once

#include <torch/nn/module.h>

#include <memory>
#include <string>

#include "d2dmoe/kernels/expert_mlp.h"
#include "d2dmoe/nn/forward_context.h"

namespace d2dmoe::nn {

/// What a site holds: a two-layer perceptron, dense or routed (moe::ExpertFeedForward).
class FeedForward : public torch::nn::Module {
 public:
  /// @param x  [N, D] token rows
  /// @return   [N, D_out]
  virtual torch::Tensor forward(const torch::Tensor& x, const SiteId& site, ForwardContext& ctx) = 0;
  /// The weights, sharing storage with the module's parameters.
  virtual kernels::MlpWeights weights() const = 0;
  virtual void set_activation(kernels::Activation activation) = 0;
};

/// The layer as the pretrained model has it. Parameters: w1, b1, (wu, bu), w2t, b2 (shapes:
/// kernels::MlpWeights).
class DenseFeedForward : public FeedForward {
 public:
  struct Options {
    int64_t d_in = 0, hidden = 0, d_out = 0;
    bool gated = false, bias = true;
    kernels::Activation activation = kernels::Activation::gelu_erf;
    bool initialise = true;  ///< normal(0, 0.02) matrices; false: no values until loaded (biases are 0)
  };
  explicit DenseFeedForward(const Options& options);

  torch::Tensor forward(const torch::Tensor& x, const SiteId& site, ForwardContext& ctx) override;
  kernels::MlpWeights weights() const override { return w_; }
  void set_activation(kernels::Activation activation) override { w_.activation = activation; }

 private:
  kernels::MlpWeights w_;
};

/// A place of the model that can be converted: holds a FeedForward and knows its own name. Models hold sites
/// and never know what a site holds.
class Site : public torch::nn::Module {
 public:
  Site(SiteId id, std::shared_ptr<FeedForward> layer);
  torch::Tensor forward(const torch::Tensor& x, ForwardContext& ctx) { return layer_->forward(x, id_, ctx); }
  const SiteId& id() const { return id_; }
  const std::shared_ptr<FeedForward>& layer() const { return layer_; }
  /// Conversion: puts another layer in this place.
  void replace(std::shared_ptr<FeedForward> layer);
  void set_index(int64_t index) { id_.index = index; }

 private:
  SiteId id_;
  std::shared_ptr<FeedForward> layer_;
};

/// A block's feed-forward site, "layers.N.ffn", with a dense layer that has no values until loaded.
/// @param layer    N, and its index among the sites while no projection is one
/// @param options  but for `initialise`
std::shared_ptr<Site> make_ffn_site(int64_t layer, DenseFeedForward::Options options);

}  // namespace d2dmoe::nn
