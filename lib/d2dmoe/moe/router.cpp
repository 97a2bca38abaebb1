#include "d2dmoe/moe/router.h"

#include <ATen/CPUGeneratorImpl.h>
#include <torch/types.h>

#include <cmath>

#include "d2dmoe/core/error.h"

namespace d2dmoe::moe {

Router::Router(int64_t d_in, int64_t width, int64_t depth, int64_t experts, uint64_t seed)
    : d_in_(d_in), width_(width), depth_(depth), experts_(experts) {
  D2D_CHECK(d_in >= 1 && width >= 1 && depth >= 1 && experts >= 1,
            "[router]: got {} inputs, width {}, depth {}, {} experts; each must be at least 1", d_in, width,
            depth, experts);
  auto generator = at::detail::createCPUGenerator(seed);
  for (int64_t i = 0; i < depth; ++i) {
    const int64_t fan_in = i == 0 ? d_in : width;
    const int64_t fan_out = i == depth - 1 ? experts : width;
    const double bound = 1.0 / std::sqrt(static_cast<double>(fan_in));
    auto weight = torch::empty({fan_out, fan_in}).uniform_(-bound, bound, generator);
    weights_.push_back(register_parameter("weight" + std::to_string(i), weight));
  }
}

torch::Tensor Router::forward(const torch::Tensor& x) const {
  torch::Tensor h = x.to(torch::kFloat32);
  if (at::GradMode::is_enabled()) {
    for (int64_t i = 0; i < depth_; ++i) {
      h = at::linear(i == 0 ? h : at::relu(h), weights_[i]);
    }
    return h.abs().to(torch::kFloat32);
  }
  for (int64_t i = 0; i < depth_; ++i) {
    if (i > 0) h.relu_();
    h = at::linear(h, weights_[i]);
  }
  return h.abs_().to(torch::kFloat32);  // autocast may have run the products in bfloat16
}

std::shared_ptr<const kernels::PackedRouter> Router::packed(at::ScalarType dtype) const {
  for (const auto& weight : weights_)
    if (!weight.is_cpu() || weight.scalar_type() != torch::kFloat32) return nullptr;
  // A tensor made in inference mode has no version, and cannot be changed outside of it.
  const auto version = [](const torch::Tensor& w) { return w.is_inference() ? -1 : int64_t{w._version()}; };
  const std::scoped_lock lock(packing_);
  bool fresh = packed_ != nullptr && packed_->dtype == dtype;
  for (size_t i = 0; fresh && i < weights_.size(); ++i)
    fresh = packed_from_[i].const_data_ptr() == weights_[i].const_data_ptr() &&
            packed_versions_[i] == version(weights_[i]);
  if (fresh) return packed_;
  packed_from_.clear(), packed_versions_.clear();
  for (const auto& weight : weights_) {
    packed_from_.push_back(weight.detach());
    packed_versions_.push_back(version(weight));
  }
  packed_ = std::make_shared<const kernels::PackedRouter>(kernels::pack_router(weights_, dtype));
  return packed_;
}

double Router::flops_per_token() const {
  double flops = 0;
  for (const auto& weight : weights_) flops += 2.0 * static_cast<double>(weight.numel());
  return flops;
}

}  // namespace d2dmoe::moe
