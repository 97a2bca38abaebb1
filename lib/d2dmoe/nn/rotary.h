#pragma once

#include <torch/types.h>

namespace d2dmoe::nn {

/// Cosines and sines of the angles by which a batch's rows are turned.
struct RotaryAngles {
  torch::Tensor cos, sin;  ///< [N, 1, head_dim / 2], already times the attention factor
};

/// Rotary position embedding: pair (i, i + head_dim/2) of a query or key head is turned by position times
/// frequency i.
/// @ref Su et al., RoFormer, 2021; frequencies and scalings as transformers has them
class Rotary {
 public:
  /// How frequencies are stretched for texts longer than those of pretraining.
  enum class Scaling { none, linear, dynamic, llama3, yarn };
  struct Options {
    int64_t head_dim = 0;  ///< even
    double theta = 10000;
    Scaling scaling = Scaling::none;
    double factor = 1;
    int64_t positions = 0;                             ///< dynamic: longest sequence that is not stretched
    int64_t original_positions = 0;                    ///< llama3, yarn: of pretraining
    double low_freq_factor = 1, high_freq_factor = 4;  ///< llama3
    double beta_fast = 32, beta_slow = 1;              ///< yarn
    bool truncate = true;                              ///< yarn: whole dimensions as ends of the ramp
    double attention_factor = 1;                       ///< of the cosines and sines
  };
  explicit Rotary(const Options& options);

  /// @param positions  [N] int64, on any device
  /// @param longest    largest position + 1 (dynamic scaling depends on it, of the whole batch)
  /// @param dtype      of the result; the angles are computed in float32
  RotaryAngles angles(const torch::Tensor& positions, int64_t longest, torch::ScalarType dtype) const;
  /// [head_dim / 2] float32, for sequences up to `longest`.
  torch::Tensor frequencies(int64_t longest) const;

 private:
  Options options_;
  torch::Tensor frequencies_;  // of short sequences
};

/// @param x  [N, heads, head_dim]
/// @return   the same shape, every head turned by its row's angles
torch::Tensor rotate(const torch::Tensor& x, const RotaryAngles& angles);

}  // namespace d2dmoe::nn
