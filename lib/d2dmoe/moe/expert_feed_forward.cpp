#include "d2dmoe/moe/expert_feed_forward.h"

#include <ATen/autocast_mode.h>
#include <torch/types.h>

#include <bit>
#include <cmath>

#include "d2dmoe/core/error.h"
#include "d2dmoe/kernels/active_share.h"
#include "d2dmoe/kernels/break_even.h"
#include "d2dmoe/kernels/device_call.h"
#include "d2dmoe/kernels/fast_linear.h"
#include "d2dmoe/moe/device_route.h"

namespace d2dmoe::moe {
namespace {

/// All E columns from those of the routed experts.
torch::Tensor with_shared(const torch::Tensor& shared, const torch::Tensor& routed, int64_t count) {
  return count == 0 ? routed : at::cat({shared.expand({routed.size(0), count}), routed}, 1);
}

}  // namespace

DenseHidden dense_hidden(const torch::Tensor& x, const kernels::MlpWeights& w) {
  DenseHidden h;
  h.pre = kernels::fast_linear(x, w.w1, w.b1);
  h.post = kernels::activate(h.pre, w.activation);
  h.hidden = w.gated() ? h.post * kernels::fast_linear(x, w.wu, w.bu) : h.post;
  return h;
}

ExpertFeedForward::ExpertFeedForward(kernels::MlpWeights weights, int64_t experts, int64_t shared,
                                     std::shared_ptr<Router> router)
    : experts_(experts), shared_(shared), router_(std::move(router)) {
  D2D_CHECK(experts >= 1 && weights.hidden() % experts == 0,
            "[moe]: got {} experts for {} hidden neurons, must divide them", experts, weights.hidden());
  D2D_CHECK(shared >= 0 && shared < experts,
            "[moe]: got {} shared experts of {}, must leave at least one routed", shared, experts);
  D2D_CHECK(router_->d_in() == weights.d_in() && router_->experts() == experts - shared,
            "[moe] 'router': got {} inputs and {} outputs, must have {} and {}", router_->d_in(),
            router_->experts(), weights.d_in(), experts - shared);
  const auto own = [this](const char* name, const torch::Tensor& t) {
    return t.defined() ? register_parameter(name, t.detach()) : torch::Tensor();
  };
  w_.w1 = own("w1", weights.w1);
  w_.b1 = own("b1", weights.b1);
  w_.wu = own("wu", weights.wu);
  w_.bu = own("bu", weights.bu);
  w_.w2t = own("w2t", weights.w2t);
  w_.b2 = own("b2", weights.b2);
  w_.activation = weights.activation;
  register_module("router", router_);
}

const torch::Tensor& ExpertFeedForward::grams() {
  // set_data and to() change what a tensor holds without a new version.
  const bool fresh = grams_.defined() && grams_source_.is_same(w_.w2t) &&
                     grams_storage_ == w_.w2t.const_data_ptr() && grams_version_ == w_.w2t._version();
  if (!fresh) {
    torch::NoGradGuard no_grad;
    grams_ = kernels::expert_grams(w_, experts_);
    grams_source_ = w_.w2t;
    grams_storage_ = w_.w2t.const_data_ptr();
    grams_version_ = static_cast<uint32_t>(w_.w2t._version());
  }
  return grams_;
}

std::optional<kernels::Routing> ExpertFeedForward::route_fused(const torch::Tensor& x,
                                                               const Selection& selection) {
  const bool readable =
      x.is_cpu() && (x.scalar_type() == torch::kFloat32 || x.scalar_type() == torch::kBFloat16);
  // Under autocast the router's products may be lower precision: the caller's wish.
  if (!readable || selection.oracle() || at::autocast::is_autocast_enabled(at::kCPU)) return std::nullopt;
  const auto packed = router_->packed(x.scalar_type());
  if (packed == nullptr) return std::nullopt;
  const RowSelector selector(selection, routed(), mean_norm_);
  auto routing = kernels::route(x, *packed, shared_, selector);
  if (routing.usable) return routing;
  if (selector.reads_scores()) selector.refuse_scores();
  return std::nullopt;  // the kernel stopped before the rule, which does not look at the scores
}

kernels::Routing ExpertFeedForward::route(const torch::Tensor& x, const Selection& selection,
                                          const torch::Tensor& hidden, bool watched) {
  if (!watched || !at::GradMode::is_enabled())
    if (auto routing = route_fused(x, selection)) return *std::move(routing);
  if (auto routing = route_on_device(x, *router_, selection, shared_, mean_norm_)) return *std::move(routing);
  const auto norms = [&] {
    const auto known = hidden.defined() ? hidden : dense_hidden(x, w_).hidden;
    return kernels::expert_norms(known, grams()).narrow(1, shared_, routed());
  };
  const torch::Tensor scores = selection.oracle() ? norms() : router_->forward(x);
  const auto mask = select(scores, selection, mean_norm_);
  if (shared_ == 0) return {scores, mask};
  return {with_shared(scores.amax(1, true), scores, shared_),
          with_shared(torch::ones({1, 1}, mask.options()), mask, shared_)};
}

double ExpertFeedForward::active(const torch::Tensor& x, const torch::Tensor& mask) {
  const int64_t rows = std::min(x.size(0), kernels::kActiveRows);
  if (x.is_cpu() && rows > active_rows_) {
    active_ = kernels::active_share(x, mask, w_);
    active_rows_ = rows;
  }
  return active_;
}

int64_t ExpertFeedForward::pairs(const torch::Tensor& x, const kernels::Routing& routing,
                                 const Selection& selection) {
  const torch::Tensor& mask = routing.mask;
  if (mask.is_cpu()) return routing.pairs;
  if (!kernels::share_decides(x, experts_, w_)) return -1;
  const std::scoped_lock lock(counting_);
  if (selection != counted_selection_)
    counted_selection_ = selection, counted_calls_ = 0, counted_share_ = -1;
  const uint64_t call = ++counted_calls_;
  const bool counts = std::has_single_bit(call) && std::countr_zero(call) % 2 == 0;  // 1, 4, 16, …
  if ((counts || counted_share_ < 0) && !kernels::is_captured(mask))
    counted_share_ = mask.sum().item<double>() / static_cast<double>(mask.numel());
  return counted_share_ < 0 ? -1 : std::llround(counted_share_ * static_cast<double>(mask.numel()));
}

void ExpertFeedForward::set_mean_norm(double mean_norm) {
  const std::scoped_lock lock(counting_);
  mean_norm_ = mean_norm;
  counted_calls_ = 0, counted_share_ = -1;  // a floor chooses otherwise now
}

torch::Tensor ExpertFeedForward::forward(const torch::Tensor& x, const nn::SiteId& site,
                                         nn::ForwardContext& ctx) {
  const Selection& selection = ctx.selection != nullptr ? *ctx.selection : selection_;
  const bool watched = !ctx.observers.empty();
  if (watched) ctx.on_input(site, x);
  const bool all = selection.rule == "all";
  if (all && !watched) return kernels::dense_mlp(x, w_);  // nobody asks for the scores

  DenseHidden dense;
  if (selection.oracle() || ctx.wants_activations()) {
    dense = dense_hidden(x, w_);
    ctx.on_activation(site, dense.pre, dense.post, dense.hidden);
  }
  const kernels::Routing routing = route(x, selection, dense.hidden, watched);
  if (!dense.hidden.defined()) {
    bool ran_dense = all;
    auto y = all ? kernels::dense_mlp(x, w_)
                 : kernels::expert_mlp_auto(x, routing.mask, w_, &ran_dense, pairs(x, routing, selection),
                                            active(x, routing.mask));
    if (watched) ctx.on_routing(site, routing.scores, routing.mask, ran_dense);
    return y;
  }
  // The hidden layer is there already: what is left costs least as one product over the chosen neurons.
  ctx.on_routing(site, routing.scores, routing.mask, true);
  if (all) return kernels::fast_linear_transposed(dense.hidden, w_.w2t, w_.b2);
  const auto kept = dense.hidden.view({x.size(0), experts_, expert_size()}) * routing.mask.unsqueeze(2);
  return kernels::fast_linear_transposed(kept.view({x.size(0), w_.hidden()}), w_.w2t, w_.b2);
}

ExpertFeedForward* as_experts(nn::Site& site) {
  return dynamic_cast<ExpertFeedForward*>(site.layer().get());
}

}  // namespace d2dmoe::moe
