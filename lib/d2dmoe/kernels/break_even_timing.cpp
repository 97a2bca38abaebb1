#include "d2dmoe/kernels/break_even_timing.h"

#include <ATen/ATen.h>
#include <torch/csrc/autograd/autograd.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <cmath>
#include <functional>
#include <limits>

#include "d2dmoe/core/seconds_since.h"
#include "d2dmoe/kernels/active_share.h"
#include "d2dmoe/kernels/device_call.h"

namespace d2dmoe::kernels {
namespace {

// Shares at which the routed path is timed; crossing_share reads between them.
constexpr std::array<double, 5> kShares = {0.03, 0.15, 0.4, 0.7, 1.0};
// All ways are run in turn, so that what disturbs the machine disturbs all of them: until this many rounds or
// seconds, and not fewer than two rounds after the one that warms up.
constexpr int kMostRounds = 20, kLeastRounds = 2;
constexpr double kSeconds = 0.05;

// On another device than the CPU that many calls are queued before they are waited for, as a model's layers
// are: what counts is the longer of queueing and running.
constexpr int kQueued = 8;

// Least seconds of each candidate: what disturbs a run only ever makes it longer.
// @param x  on the device that they run on
std::vector<double> least_seconds(const std::vector<std::function<void()>>& candidates,
                                  const torch::Tensor& x) {
  using Clock = std::chrono::steady_clock;
  std::vector<double> least(candidates.size(), std::numeric_limits<double>::infinity());
  double total = 0;
  if (!x.is_cpu()) wait_for(x);  // for what others have queued
  for (int round = 0; round <= kMostRounds && (round <= kLeastRounds || total < kSeconds); ++round) {
    for (size_t i = 0; i < candidates.size(); ++i) {
      const auto start = Clock::now();
      for (int call = 0; call < (x.is_cpu() ? 1 : kQueued); ++call) candidates[i]();
      if (!x.is_cpu()) wait_for(x);
      const double seconds = seconds_since(start);
      if (round == 0) continue;
      total += seconds;
      least[i] = std::min(least[i], seconds);
    }
  }
  return least;
}

// A mask with exactly `count` experts per row of x, all experts equally often.
torch::Tensor spread_mask(const torch::Tensor& x, int64_t experts, int64_t count) {
  const auto numbers = at::TensorOptions(at::kInt).device(x.device());
  const torch::Tensor row = at::arange(x.size(0), numbers).unsqueeze(1);
  const torch::Tensor expert = at::arange(experts, numbers).unsqueeze(0);
  // A prime: neighbours choose unlike experts.
  return (expert + row.remainder(experts) * (7919 % experts)).remainder(experts).lt(count);
}

// The layer's function as a candidate: run, and differentiated where that is what it is run for.
std::function<void()> candidate(torch::Tensor (*layer)(const torch::Tensor&, const torch::Tensor&,
                                                       const MlpWeights&),
                                const torch::Tensor& x, const torch::Tensor& mask, const MlpWeights& w,
                                Pass pass) {
  if (pass == Pass::inference) return [=] { layer(x, mask, w); };
  torch::autograd::variable_list inputs = {x};
  for (const torch::Tensor* t : {&w.w1, &w.b1, &w.wu, &w.bu, &w.w2t, &w.b2})
    if (t->defined()) inputs.push_back(*t);
  return [=] {
    const torch::Tensor y = layer(x, mask, w);
    torch::autograd::grad({y}, inputs, {at::ones_like(y)});
  };
}

// Moves the biases, or gives the layer some, until the given share of the activations of x is above zero.
void move_biases(MlpWeights& w, const torch::Tensor& x, double active) {
  const at::NoGradGuard no_grad;
  const torch::Tensor z = first_sums(x, w).to(at::kFloat).flatten();
  const int64_t below =
      std::clamp<int64_t>(std::llround((1 - active) * static_cast<double>(z.numel())), 1, z.numel());
  const torch::Tensor threshold = std::get<0>(z.kthvalue(below));
  const torch::Tensor bias = w.b1.defined() ? w.b1.to(at::kFloat) : at::zeros({w.hidden()}, z.options());
  w.b1 = (bias - threshold).to(w.w1.scalar_type());
}

}  // namespace

double crossing_share(const std::vector<double>& shares, const std::vector<double>& routed, double dense) {
  for (size_t i = shares.size(); i-- > 0;) {
    const double here = routed[i];
    if (here > dense) continue;
    if (i + 1 == shares.size()) return 2;
    return shares[i] + (shares[i + 1] - shares[i]) * (dense - here) / (routed[i + 1] - here);
  }
  return 0;
}

double time_break_even(MlpWeights w, int64_t experts, int64_t rows, Pass pass, double active) {
  const at::AutoGradMode mode(pass == Pass::training);
  // A sine: spread like data, without touching the generators that runs are seeded with.
  torch::Tensor x = at::arange(rows * w.d_in(), w.w1.options().dtype(at::kFloat).requires_grad(false))
                        .mul_(1.618f)
                        .sin_()
                        .view({rows, w.d_in()})
                        .to(w.w1.scalar_type());
  if (w.activation == Activation::relu && rows > 0 && active < 1) move_biases(w, x, active);
  // Detached: under autocast, casts of the weights made here must not be kept for those who train them.
  const bool trains = pass == Pass::training;
  x.requires_grad_(trains);
  for (torch::Tensor* t : {&w.w1, &w.b1, &w.wu, &w.bu, &w.w2t, &w.b2})
    if (t->defined()) *t = t->detach().requires_grad_(trains);
  std::vector<double> shares;
  std::vector<std::function<void()>> candidates = {
      candidate(masked_dense_mlp, x, spread_mask(x, experts, (experts + 1) / 2), w, pass)};
  for (const double share : kShares) {
    const auto count = std::max<int64_t>(1, std::lround(share * static_cast<double>(experts)));
    const double exact = static_cast<double>(count) / static_cast<double>(experts);
    if (!shares.empty() && exact <= shares.back()) continue;  // few experts
    shares.push_back(exact);
    candidates.push_back(candidate(expert_mlp, x, spread_mask(x, experts, count), w, pass));
  }
  const std::vector<double> seconds = least_seconds(candidates, x);
  return crossing_share(shares, {seconds.begin() + 1, seconds.end()}, seconds[0]);
}

}  // namespace d2dmoe::kernels
