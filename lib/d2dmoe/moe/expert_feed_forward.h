#pragma once

#include <memory>

#include "d2dmoe/moe/router.h"
#include "d2dmoe/moe/selection.h"
#include "d2dmoe/nn/feed_forward.h"

namespace d2dmoe::moe {

/// A converted site: the dense layer's weights in expert order, a router and a selection.
///
/// Above the measured break-even share the dense path runs with the unchosen experts' activations zeroed: the same
/// function, so results do not depend on which path was faster.
class ExpertFeedForward : public nn::FeedForward {
 public:
  /// @param weights  neurons in expert order
  /// @param shared   the first `shared` experts always run (and have no router output of their own)
  ExpertFeedForward(kernels::MlpWeights weights, int64_t experts, int64_t shared, std::shared_ptr<Router> router);

  torch::Tensor forward(const torch::Tensor& x, const nn::SiteId& site, nn::ForwardContext& ctx) override;
  kernels::MlpWeights weights() const override;
  void set_activation(kernels::Activation activation) override;

  int64_t experts() const { return experts_; }
  int64_t shared() const { return shared_; }
  const std::shared_ptr<Router>& router() const { return router_; }
  Selection& selection() { return selection_; }
  double mean_norm() const { return mean_norm_; }  ///< mean predicted norm on calibration data, for the floor
  void set_mean_norm(double mean_norm) { mean_norm_ = mean_norm; }

 private:
  kernels::MlpWeights w_;
  int64_t experts_, shared_;
  std::shared_ptr<Router> router_;
  Selection selection_;
  double mean_norm_ = 0;
  torch::Tensor grams_;  // [E, S, S], made on first use by an oracle rule
};

/// The site's layer as an ExpertFeedForward, or nullptr when it is dense.
ExpertFeedForward* as_experts(nn::Site& site);

}  // namespace d2dmoe::moe
