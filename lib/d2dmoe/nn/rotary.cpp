#include "d2dmoe/nn/rotary.h"

#include <ATen/Functions.h>

#include <algorithm>
#include <cmath>
#include <numbers>

#include "d2dmoe/core/error.h"

namespace d2dmoe::nn {
namespace {

// theta^(2i / head_dim), in float32 like the models' authors: large positions multiply the rounding.
torch::Tensor wave_numbers(double theta, int64_t head_dim) {
  return at::pow(theta, torch::arange(0, head_dim, 2, torch::kFloat32) / static_cast<double>(head_dim));
}

// Long waves are stretched by the factor, short ones stay, those between are blended.
torch::Tensor llama3_frequencies(const torch::Tensor& plain, const Rotary::Options& o) {
  const auto context = static_cast<double>(o.original_positions);
  const auto length = 2 * std::numbers::pi / plain;
  const auto is_long = length > context / o.low_freq_factor, is_short = length < context / o.high_freq_factor;
  const auto blend = (context / length - o.low_freq_factor) / (o.high_freq_factor - o.low_freq_factor);
  const auto between = (1 - blend) * plain / o.factor + blend * plain;
  return at::where(is_long, plain / o.factor, at::where(is_short, plain, between));
}

// Dimensions that turn often in the original context stay, those that turn less than once are stretched, with
// a linear ramp between. @ref Peng et al., YaRN, 2023
torch::Tensor yarn_frequencies(const torch::Tensor& waves, const Rotary::Options& o) {
  const auto dim = static_cast<double>(o.head_dim);
  const auto dimension_of = [&](double turns) {
    return dim * std::log(static_cast<double>(o.original_positions) / (turns * 2 * std::numbers::pi)) /
           (2 * std::log(o.theta));
  };
  double low = dimension_of(o.beta_fast), high = dimension_of(o.beta_slow);
  if (o.truncate) low = std::floor(low), high = std::ceil(high);
  low = std::max(low, 0.0), high = std::min(high, dim - 1);
  if (low == high) high += 0.001;  // a ramp without length
  const auto stretched = ((torch::arange(o.head_dim / 2, torch::kFloat32) - low) / (high - low)).clamp(0, 1);
  return stretched / (o.factor * waves) + (1 - stretched) / waves;
}

}  // namespace

Rotary::Rotary(const Options& options) : options_(options) {
  D2D_CHECK(options.head_dim >= 2 && options.head_dim % 2 == 0,
            "[rotary] head_dim: got {}, must be even and at least 2", options.head_dim);
  frequencies_ = frequencies(0);
}

torch::Tensor Rotary::frequencies(int64_t longest) const {
  const auto& o = options_;
  if (o.scaling == Scaling::dynamic && longest > o.positions && o.head_dim > 2) {
    const auto dim = static_cast<double>(o.head_dim);
    const double stretch =
        o.factor * static_cast<double>(longest) / static_cast<double>(o.positions) - (o.factor - 1);
    return 1.0 / wave_numbers(o.theta * std::pow(stretch, dim / (dim - 2)), o.head_dim);
  }
  const auto waves = wave_numbers(o.theta, o.head_dim);
  if (o.scaling == Scaling::linear) return 1.0 / waves / o.factor;
  if (o.scaling == Scaling::llama3) return llama3_frequencies(1.0 / waves, o);
  if (o.scaling == Scaling::yarn) return yarn_frequencies(waves, o);
  return 1.0 / waves;
}

RotaryAngles Rotary::angles(const torch::Tensor& positions, int64_t longest, torch::ScalarType dtype) const {
  const bool stretched = options_.scaling == Scaling::dynamic && longest > options_.positions;
  const auto frequency = (stretched ? frequencies(longest) : frequencies_).to(positions.device());
  const auto angle = positions.to(torch::kFloat32).view({-1, 1, 1}) * frequency;
  const auto factor = options_.attention_factor;
  return {(angle.cos() * factor).to(dtype), (angle.sin() * factor).to(dtype)};
}

torch::Tensor rotate(const torch::Tensor& x, const RotaryAngles& angles) {
  const int64_t half = x.size(2) / 2;
  const auto first = x.narrow(2, 0, half), second = x.narrow(2, half, half);
  return at::cat({first * angles.cos - second * angles.sin, second * angles.cos + first * angles.sin}, 2);
}

}  // namespace d2dmoe::nn
