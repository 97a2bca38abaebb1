#pragma once

#include <torch/nn/module.h>

#include <memory>
#include <mutex>
#include <vector>

#include "d2dmoe/kernels/route.h"

namespace d2dmoe::moe {

/// Predicts the L2 norm of every expert's output: D -> width -> E without biases, ReLU between, absolute
/// value at the end (depth 1: one linear layer). Parameters: weight0 [width, D], weight1 [E, width], …
/// @ref docs/method.md §4
class Router : public torch::nn::Module {
 public:
  /// Weights start uniform in ±1/sqrt(fan in), as torch's linear layers do.
  /// @param depth  linear layers, >= 1
  /// @throws Error  a size below 1
  Router(int64_t d_in, int64_t width, int64_t depth, int64_t experts, uint64_t seed);
  /// @param x  [N, D], float32 or lower precision
  /// @return   [N, E] float32, >= 0
  torch::Tensor forward(const torch::Tensor& x) const;

  int64_t d_in() const { return d_in_; }
  int64_t width() const { return width_; }
  int64_t depth() const { return depth_; }
  int64_t experts() const { return experts_; }
  double flops_per_token() const;  ///< 2 per multiply-accumulate
  /// The weights in order, the parameters themselves.
  const std::vector<torch::Tensor>& weights() const { return weights_; }

  /// The weights as kernels::route reads them for rows of a dtype (float32, bfloat16), kept until they or the
  /// dtype change; nullptr where it cannot read them (not float32, not on the CPU). May be called by several
  /// threads at once.
  std::shared_ptr<const kernels::PackedRouter> packed(at::ScalarType dtype) const;

 private:
  int64_t d_in_, width_, depth_, experts_;
  std::vector<torch::Tensor> weights_;
  mutable std::mutex packing_;
  mutable std::shared_ptr<const kernels::PackedRouter> packed_;
  mutable std::vector<torch::Tensor>
      packed_from_;  // holds the weights' memory, so that no other gets its place
  mutable std::vector<int64_t> packed_versions_;
};

}  // namespace d2dmoe::moe
