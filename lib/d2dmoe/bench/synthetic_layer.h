#pragma once

#include <torch/types.h>

#include <memory>
#include <string>

#include "d2dmoe/bench/layer_shape.h"
#include "d2dmoe/moe/expert_feed_forward.h"

namespace d2dmoe::bench {

/// How the rows of a synthetic layer choose their experts.
enum class MaskKind {
  independent,  ///< each row for itself, no expert favoured
  clustered,    ///< rows come in 8 clusters, in random order; those of one choose nearly the same experts
  hot,          ///< as independent, but every row chooses expert 0
};
/// "independent", "clustered" or "hot". @throws UsageError  another word (names the nearest)
MaskKind parse_mask_kind(const std::string& name);
std::string mask_kind_name(MaskKind kind);

struct SyntheticOptions {
  MaskKind masks = MaskKind::independent;
  double active = 0.5;  ///< share of hidden pre-activations above 0, which is where ReLU saves; in (0, 1]
  torch::ScalarType dtype = torch::kFloat32;
  torch::Device device = torch::kCPU;
  uint64_t seed = 42;
};

/// A routed layer of random weights and rows for it, such that its own router and selection choose experts as
/// `masks` says and for any wanted share: what is timed is the layer that models run.
///
/// Rows and weights are normal and scaled so that pre-activations are, too. The router's last matrix has rows
/// of equal norm and zero mean, so that no expert is favoured; expert 0 of `hot` sums the hidden units, which
/// is a large score for every row.
class SyntheticLayer {
 public:
  SyntheticLayer(const LayerShape& shape, const SyntheticOptions& options);

  const LayerShape& shape() const { return shape_; }
  const std::shared_ptr<moe::ExpertFeedForward>& layer() const { return layer_; }
  /// The same layer with its weights elsewhere in memory.
  std::shared_ptr<moe::ExpertFeedForward> copy() const;
  /// @return  [rows, D] of the layer's dtype; another call gives others
  torch::Tensor rows(int64_t count);
  /// The selection under which these rows run that share of the (row, expert) pairs: dynamic_k with tau 0 and
  /// a floor, which allows any share, and rows that run nothing.
  /// @param share  in [0, 1], met exactly but for rounding to whole pairs and ties
  moe::Selection selection(const torch::Tensor& rows, double share) const;

 private:
  LayerShape shape_;
  SyntheticOptions options_;
  at::Generator generator_;
  std::shared_ptr<moe::ExpertFeedForward> layer_;
};

}  // namespace d2dmoe::bench
