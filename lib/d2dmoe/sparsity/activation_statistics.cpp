#include "d2dmoe/sparsity/activation_statistics.h"

#include <ATen/Functions.h>

namespace d2dmoe::sparsity {

void SparsityObserver::on_activation(const nn::SiteId& site, const torch::Tensor&, const torch::Tensor& post,
                                     const torch::Tensor&) {
  if (post.size(0) == 0) return;
  const torch::NoGradGuard no_grad;
  const auto index = static_cast<size_t>(site.index);
  if (sites_.size() <= index) sites_.resize(index + 1);
  auto& counts = sites_[index];
  counts.site = site.name;
  counts.width = post.size(1);
  counts.rows += post.size(0);

  const auto magnitude = post.detach().abs();                // [N, F]
  const auto largest = magnitude.amax(1, /*keepdim=*/true);  // [N, 1]
  const auto below =
      at::stack({post.numel() - at::count_nonzero(magnitude), magnitude.le(largest * 1e-1).sum(),
                 magnitude.le(largest * 1e-2).sum(), magnitude.le(largest * 1e-3).sum()});
  counts.below = counts.below.defined() ? counts.below + below : below;
}

std::vector<SiteSparsity> SparsityObserver::result() const {
  std::vector<SiteSparsity> result;
  for (const auto& counts : sites_) {
    if (counts.rows == 0) continue;
    const auto shares =
        (counts.below.to(torch::kCPU, torch::kFloat64) / static_cast<double>(counts.rows * counts.width))
            .contiguous();
    const auto* share = shares.data_ptr<double>();
    result.push_back({counts.site, share[0], share[1], share[2], share[3], counts.rows});
  }
  return result;
}

double SparsityObserver::mean_zeros() const {
  const auto sites = result();
  double sum = 0;
  for (const auto& site : sites) sum += site.zeros;
  return sites.empty() ? 0 : sum / static_cast<double>(sites.size());
}

}  // namespace d2dmoe::sparsity
