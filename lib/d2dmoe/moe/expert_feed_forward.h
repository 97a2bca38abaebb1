#pragma once

#include <atomic>
#include <memory>
#include <mutex>
#include <optional>
#include <string>

#include "d2dmoe/moe/router.h"
#include "d2dmoe/moe/selection.h"
#include "d2dmoe/nn/feed_forward.h"

namespace d2dmoe::moe {

/// A converted site: the dense layer's weights in expert order, a router and a selection.
///
/// On the CPU router and rule are one kernel (kernels::route), on a GPU one a layer (route_on_device). Above
/// the measured break-even share the dense path runs with the unchosen experts' activations zeroed: the same
/// function, so results do not depend on which path was faster. Counting the chosen experts waits for a GPU,
/// so it is done there for the first call of a selection, the fourth, the sixteenth and so on, and what was
/// counted last decides the calls between.
///
/// Shared experts: the router scores the other experts only, and the rule (row maximum, sums, k) sees only
/// those. Reported scores and masks have all E columns: shared experts are always chosen and carry the row's
/// largest score.
class ExpertFeedForward : public nn::FeedForward {
 public:
  /// Where the neurons come from.
  struct Origin {
    torch::Tensor permutation;  ///< [F] int64: place i is neuron permutation[i] of the dense parent
    std::string split;          ///< a name of config::kSplits
  };

  /// @param weights  neurons in expert order
  /// @param shared   the first `shared` experts always run (and have no router output of their own)
  /// @param router   D inputs, experts - shared outputs
  /// @throws Error   sizes that do not fit
  ExpertFeedForward(kernels::MlpWeights weights, int64_t experts, int64_t shared,
                    std::shared_ptr<Router> router);

  torch::Tensor forward(const torch::Tensor& x, const nn::SiteId& site, nn::ForwardContext& ctx) override;
  kernels::MlpWeights weights() const override { return w_; }
  void set_activation(kernels::Activation activation) override {
    w_.activation = activation;
    active_rows_ = 0;
  }

  int64_t experts() const { return experts_; }
  int64_t shared() const { return shared_; }
  int64_t routed() const { return experts_ - shared_; }
  int64_t expert_size() const { return w_.hidden() / experts_; }
  const std::shared_ptr<Router>& router() const { return router_; }
  Selection& selection() { return selection_; }
  const Selection& selection() const { return selection_; }
  double mean_norm() const { return mean_norm_; }  ///< mean predicted norm on calibration data, for the floor
  void set_mean_norm(double mean_norm);
  const Origin& origin() const { return origin_; }
  void set_origin(Origin origin) { origin_ = std::move(origin); }
  /// What `selection` decides for these rows, the first part of forward. bfloat16 rows on the CPU go through
  /// a router rounded to bfloat16 (kernels::route), except where `watched` asks for a gradient.
  /// @param x        [N, D]
  /// @param hidden   [N, F], read by oracle rules alone; undefined: these compute it
  /// @param watched  somebody may ask for the scores' gradient
  /// @return         scores and mask over all E experts
  kernels::Routing route(const torch::Tensor& x, const Selection& selection, const torch::Tensor& hidden = {},
                         bool watched = false);
  /// Gram matrices of the experts' output weights, kept until these change. [E, S, S] float32
  const torch::Tensor& grams();

 private:
  /// As route by one kernel, where there is one for these rows.
  std::optional<kernels::Routing> route_fused(const torch::Tensor& x, const Selection& selection);
  /// kernels::active_share of rows that came earlier, or of these where they are more than were ever looked
  /// at. It decides nothing but the faster way to compute.
  double active(const torch::Tensor& x, const torch::Tensor& mask);

  /// Chosen pairs for kernels::expert_mlp_auto: on other devices than the CPU about as many as an earlier
  /// call had; -1 = not known, or of no use.
  int64_t pairs(const torch::Tensor& x, const kernels::Routing& routing, const Selection& selection);

  kernels::MlpWeights w_;
  int64_t experts_, shared_;
  std::shared_ptr<Router> router_;
  Selection selection_;
  double mean_norm_ = 0;
  Origin origin_;
  std::atomic<double> active_ = 1;
  std::atomic<int64_t> active_rows_ = 0;  // of which active_ is
  std::mutex counting_;
  Selection counted_selection_;  // of the calls that are counted
  uint64_t counted_calls_ = 0;
  double counted_share_ = -1;
  torch::Tensor grams_;         // made on first use by an oracle rule
  torch::Tensor grams_source_;  // the w2t that they were made from, with its version
  const void* grams_storage_ = nullptr;
  uint32_t grams_version_ = 0;
};

/// The site's layer as an ExpertFeedForward, or nullptr when it is dense.
ExpertFeedForward* as_experts(nn::Site& site);

/// The hidden layer of a site, computed densely.
struct DenseHidden {
  torch::Tensor pre, post, hidden;  ///< [N, F], as Observer::on_activation sees them
};
DenseHidden dense_hidden(const torch::Tensor& x, const kernels::MlpWeights& w);

}  // namespace d2dmoe::moe
