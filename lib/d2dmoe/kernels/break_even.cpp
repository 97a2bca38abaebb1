#include "d2dmoe/kernels/break_even.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <ATen/core/grad_mode.h>

#include <algorithm>
#include <chrono>
#include <functional>
#include <limits>
#include <map>
#include <mutex>
#include <tuple>

#include "d2dmoe/kernels/expert_mlp_checks.h"

namespace d2dmoe::kernels {
namespace {

constexpr int64_t kMostRows = 512;
// Shares at which the routed path is timed; its time is taken as linear between and beyond them.
constexpr double kLowShare = 0.05, kHighShare = 0.4;

using Key = std::tuple<int64_t, int64_t, int64_t, int64_t, int64_t, bool, int, int, int, int, int>;

int64_t row_bucket(int64_t rows) {
  int64_t bucket = 1;
  while (bucket < rows && bucket < kMostRows) bucket *= 2;
  return bucket;
}

// Least seconds of a few runs: what disturbs a run only ever makes it longer.
double seconds_of(const std::function<torch::Tensor()>& run) {
  using Clock = std::chrono::steady_clock;
  constexpr double kBudget = 2e-3;
  double least = std::numeric_limits<double>::infinity(), total = 0;
  for (int i = 0; i < 12 && (i < 3 || total < kBudget); ++i) {
    const auto start = Clock::now();
    const torch::Tensor y = run();
    if (!y.is_cpu()) y.flatten()[0].item();  // waits for the device
    const double seconds = std::chrono::duration<double>(Clock::now() - start).count();
    if (i > 0) least = std::min(least, seconds);  // the first run warms up
    total += seconds;
  }
  return least;
}

// A mask with exactly round(share * E) experts per row, spread evenly; at least one.
torch::Tensor spread_mask(int64_t rows, int64_t experts, double share, const torch::Device& device) {
  const auto count = std::max<int64_t>(1, static_cast<int64_t>(share * static_cast<double>(experts) + 0.5));
  const torch::Tensor row = at::arange(rows).unsqueeze(1), expert = at::arange(experts).unsqueeze(0);
  // 7919 is prime: neighbouring rows choose unrelated experts.
  return ((row * 7919 + expert * 31) % experts).lt(count).to(device);
}

double measure(const MlpWeights& w, int64_t experts, int64_t rows) {
  const at::NoGradGuard no_grad;
  // A sine: spread like data, without touching the generators that runs are seeded with.
  const torch::Tensor x = at::arange(rows * w.d_in(), w.w1.options().dtype(at::kFloat))
                              .mul_(1.618f)
                              .sin_()
                              .view({rows, w.d_in()})
                              .to(w.w1.scalar_type());
  const torch::Tensor low = spread_mask(rows, experts, kLowShare, x.device());
  const torch::Tensor high = spread_mask(rows, experts, kHighShare, x.device());
  const double low_share = low.to(at::kFloat).mean().item<double>();
  const double high_share = high.to(at::kFloat).mean().item<double>();
  const double dense = seconds_of([&] { return masked_dense_mlp(x, high, w); });
  const double at_low = seconds_of([&] { return expert_mlp(x, low, w); });
  if (high_share <= low_share) return at_low < dense ? low_share : 0;
  const double at_high = seconds_of([&] { return expert_mlp(x, high, w); });
  const double slope = (at_high - at_low) / (high_share - low_share);
  if (slope <= 0) return at_low < dense ? 2 : 0;
  return std::clamp(low_share + (dense - at_low) / slope, 0.0, 2.0);
}

Key key_of(const MlpWeights& w, int64_t experts, int64_t bucket) {
  const torch::Device device = w.w1.device();
  return {w.d_in(),
          w.hidden(),
          w.d_out(),
          experts,
          bucket,
          w.gated(),
          static_cast<int>(w.activation),
          static_cast<int>(w.w1.scalar_type()),
          static_cast<int>(device.type()),
          device.index(),
          at::get_num_threads()};
}

}  // namespace

double break_even_share(const MlpWeights& w, int64_t experts, int64_t rows) {
  static std::mutex mutex;
  static std::map<Key, double> known;
  const int64_t bucket = row_bucket(rows);
  const Key key = key_of(w, experts, bucket);
  // Held while measuring: two measurements at once would disturb each other.
  const std::scoped_lock lock(mutex);
  const auto found = known.find(key);
  if (found != known.end()) return found->second;
  return known[key] = measure(w, experts, bucket);
}

torch::Tensor expert_mlp_auto(const torch::Tensor& x, const torch::Tensor& mask, const MlpWeights& w,
                              bool* ran_dense) {
  check_expert_mlp("expert_mlp", x, mask, w);
  const auto result = [&](bool dense, const torch::Tensor& y) {
    if (ran_dense) *ran_dense = dense;
    return y;
  };
  const int64_t pairs = mask.sum().item<int64_t>();
  if (pairs == mask.numel()) return result(true, dense_mlp(x, w));
  if (wants_gradient(x, w)) return result(true, masked_dense_mlp(x, mask, w));
  const double share = static_cast<double>(pairs) / static_cast<double>(mask.numel());
  if (pairs > 0 && share > break_even_share(w, mask.size(1), x.size(0)))
    return result(true, masked_dense_mlp(x, mask, w));
  return result(false, expert_mlp(x, mask, w));
}

}  // namespace d2dmoe::kernels
