#pragma once

#include <array>
#include <memory>
#include <vector>

#include "d2dmoe/nn/feed_forward.h"
#include "d2dmoe/nn/layers.h"

namespace d2dmoe::nn {

/// One of an attention's four linear layers. A perceptron can take its place: it is a site from then on.
/// Parameters: weight [out, in] and bias [out]; as a site, those of site.layer.
/// @ref docs/method.md §5
class Projection : public Linear {
 public:
  Projection(SiteKind kind, int64_t layer, int64_t in, int64_t out, bool with_bias);
  /// @param x  [N, in]
  /// @return   [N, out]
  torch::Tensor forward(const torch::Tensor& x, ForwardContext& ctx);
  /// Its name as a site has it ("layers.3.attention.q"); the index means nothing while it is linear.
  const SiteId& id() const { return id_; }
  int64_t in() const { return in_; }
  int64_t out() const { return out_; }
  bool has_bias() const { return has_bias_; }  ///< of the linear layer, whether it is there or gone
  Site* site() const { return site_.get(); }   ///< nullptr while it is linear
  /// Lets the weights go for a perceptron of as many inputs and outputs.
  /// @throws Error  it is a site already; other sizes
  void replace(std::shared_ptr<FeedForward> perceptron);

 private:
  SiteId id_;
  int64_t in_, out_;
  bool has_bias_;
  std::shared_ptr<Site> site_;
};

/// q, k, v, o.
using Projections = std::array<Projection*, 4>;

/// A block's sites in the order of the forward pass: the projections that are sites, then `ffn`.
std::vector<Site*> block_sites(const Projections& projections, Site& ffn);

}  // namespace d2dmoe::nn
