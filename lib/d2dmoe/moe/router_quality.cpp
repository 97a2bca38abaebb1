#include "d2dmoe/moe/router_quality.h"

#include <torch/types.h>

#include <algorithm>
#include <cmath>

#include "d2dmoe/core/error.h"

namespace d2dmoe::moe {
namespace {

constexpr int64_t kBlockRows = 8192;
constexpr int64_t kSortedValues = 1 << 20;  // enough for three digits, and sorted in a blink

/// Running sums of the norms, largest R / row maximum first: element k is the mass of the k + 1 experts
/// chosen first.
torch::Tensor mass_by_rank(const torch::Tensor& scores, const torch::Tensor& norms) {
  const auto ratio = scores / scores.amax(1, true).clamp_min(1e-30);
  const auto order = std::get<1>(ratio.flatten().sort(/*stable=*/true, 0, /*descending=*/true));
  return norms.flatten().index_select(0, order).to(torch::kFloat64).cumsum(0);
}

}  // namespace

const std::vector<double>& captured_shares() {
  static const std::vector<double> shares = {0.02, 0.05, 0.1, 0.2, 0.4};
  return shares;
}

std::vector<CapturedNormMass> captured_norm_mass(const torch::Tensor& predicted, const torch::Tensor& norms,
                                                 const std::vector<double>& shares) {
  D2D_CHECK(predicted.sizes() == norms.sizes() && norms.dim() == 2,
            "[router quality]: got predictions of shape {} and norms of shape {}, must both be [N, E]",
            predicted.sizes(), norms.sizes());
  std::vector<CapturedNormMass> captured;
  if (norms.numel() == 0) return captured;
  const auto by_router = mass_by_rank(predicted, norms);
  const auto by_oracle = mass_by_rank(norms, norms);
  const double total = by_oracle[-1].item<double>();
  for (const double share : shares) {
    const auto count = std::llround(share * static_cast<double>(norms.numel()));
    const auto mass = [&](const torch::Tensor& sums) {
      return count > 0 && total > 0 ? sums[count - 1].item<double>() / total : 0.0;
    };
    captured.push_back({share, mass(by_router), mass(by_oracle)});
  }
  return captured;
}

RouterQuality router_quality(const Router& router, const torch::Tensor& inputs, const torch::Tensor& targets,
                             const torch::Tensor& mean) {
  torch::NoGradGuard no_grad;
  RouterQuality quality;
  const int64_t rows = targets.size(0), experts = targets.size(1);
  quality.rows = rows;
  quality.expert_use.assign(static_cast<size_t>(experts), 0.0);
  if (rows == 0) return quality;
  const auto device = router.weights().front().device();
  auto used = torch::zeros({experts}, torch::kFloat64);
  std::vector<torch::Tensor> predicted, norms;
  for (int64_t begin = 0; begin < rows; begin += kBlockRows) {
    const int64_t count = std::min(kBlockRows, rows - begin);
    const auto target = targets.narrow(0, begin, count);
    const auto scores = router.forward(inputs.narrow(0, begin, count).to(device)).cpu();
    quality.mse += (scores - target).square_().sum(torch::kFloat64).item<double>();
    quality.mse_of_mean += (target - mean).square_().sum(torch::kFloat64).item<double>();
    used += target.gt(0).sum(0).to(torch::kFloat64);
    if (begin * experts < kSortedValues) {
      predicted.push_back(scores);
      norms.push_back(target);
    }
  }
  quality.mse /= static_cast<double>(rows * experts);
  quality.mse_of_mean /= static_cast<double>(rows * experts);
  used /= static_cast<double>(rows);
  for (int64_t e = 0; e < experts; ++e) quality.expert_use[static_cast<size_t>(e)] = used[e].item<double>();
  quality.captured = captured_norm_mass(at::cat(predicted), at::cat(norms), captured_shares());
  return quality;
}

}  // namespace d2dmoe::moe
