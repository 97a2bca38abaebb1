#pragma once

#include <torch/types.h>

#include <cstdint>
#include <map>

#include "d2dmoe/nn/forward_context.h"

namespace d2dmoe::train {

/// Keeps what enters each feed-forward network during a forward pass.
class FeatureObserver : public nn::Observer {
 public:
  void on_input(const nn::SiteId& site, const torch::Tensor& x) override;
  void reset() { by_layer_.clear(); }
  const std::map<int64_t, torch::Tensor>& by_layer() const { return by_layer_; }  ///< [N, D] each

 private:
  std::map<int64_t, torch::Tensor> by_layer_;
};

/// How far the student's hidden states are from the teacher's: the mean over layers and token rows of
/// ||s - t||^2 / ||t||^2, where s and t enter the feed-forward network of the same layer. 0: equal; 1: as far
/// as zeros are. Differentiable in the student.
/// @return  scalar float32
/// @throws UsageError  other layers or another width
torch::Tensor feature_distance(const FeatureObserver& student, const FeatureObserver& teacher);

}  // namespace d2dmoe::train
