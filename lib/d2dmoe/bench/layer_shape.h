#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "d2dmoe/kernels/activation.h"

namespace d2dmoe::bench {

/// The sizes of a feed-forward layer and of its experts.
struct LayerShape {
  std::string name;
  int64_t d_model = 0, experts = 0, expert_size = 0;
  bool gated = false, bias = true;
  kernels::Activation activation = kernels::Activation::relu;
  int64_t router_width = 128;  ///< of a router of two layers

  int64_t hidden() const { return experts * expert_size; }
  /// Weights of the layer's two matrices (gated: three), without biases.
  double weights() const { return (gated ? 3.0 : 2.0) * static_cast<double>(hidden() * d_model); }
};

/// Layers of published models, with the splits into experts that are usual for them:
/// - 24x128: D 768, ReLU, the layer of the paper's timing figure; 128x24: the same layer in finer experts
/// - bert-base, vit-b, gpt2: F 3072 with their own activations; minilm: D 384, ReLU
/// - gemma-2b, llama-7b: gated, without biases
const std::vector<LayerShape>& presets();

/// @throws UsageError  no such preset (names the nearest)
const LayerShape& preset(const std::string& name);

/// @throws UsageError  a size below 1, or a router narrower than 8
void check_shape(const LayerShape& shape);

/// "D 768, 24 experts of 128, relu, router 768-128-24".
std::string shape_text(const LayerShape& shape);

}  // namespace d2dmoe::bench
