#include "d2dmoe/kernels/break_even.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <ATen/autocast_mode.h>
#include <sys/resource.h>
#include <torch/csrc/autograd/autograd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <chrono>
#include <functional>
#include <limits>
#include <map>
#include <mutex>
#include <tuple>

#include "d2dmoe/core/error.h"
#include "d2dmoe/core/log.h"
#include "d2dmoe/kernels/break_even_table.h"
#include "d2dmoe/kernels/cpu/isa.h"
#include "d2dmoe/kernels/expert_mlp_checks.h"
#include "d2dmoe/kernels/expert_mlp_gradient.h"
#include "d2dmoe/kernels/row_lists.h"

namespace d2dmoe::kernels {
namespace {

constexpr int64_t kMostRows = 1024;
constexpr double kMostFlops = 4e10;  // of a dense layer that is timed: a fifth of a second on two cores
// Shares at which the routed path is timed; crossing_share reads between them.
constexpr std::array<double, 5> kShares = {0.03, 0.15, 0.4, 0.7, 1.0};
// All ways are run in turn, so that what disturbs the machine disturbs all of them: until this many rounds or
// seconds, and not fewer than two rounds after the one that warms up.
constexpr int kMostRounds = 20, kLeastRounds = 2;
constexpr double kSeconds = 0.05;

// Active shares up to a power of two are taken for one: from 1/2, as random rows have it, down to this. (With
// fewer, the first product is all that is left.)
constexpr double kLeastActive = 1.0 / 32;

double active_bucket(const MlpWeights& w, double active) {
  if (w.activation != Activation::relu) return 1;
  double bucket = 0.5;
  while (bucket > kLeastActive && active <= bucket / 2) bucket /= 2;
  return bucket;
}

double dense_flops(const MlpWeights& w, int64_t rows) {
  const int64_t products = (w.gated() ? 2 : 1) * w.d_in() + w.d_out();
  return 2.0 * static_cast<double>(rows) * static_cast<double>(w.hidden() * products);
}

int64_t row_bucket(const MlpWeights& w, int64_t rows) {
  int64_t bucket = 1;
  while (bucket < rows && bucket < kMostRows && dense_flops(w, 2 * bucket) <= kMostFlops) bucket *= 2;
  return bucket;
}

// Whether other programs took this one's processors while it measured: how often it was put aside. Threads
// that wait for one that was put aside make times many times too long, the least among them too.
class Disturbance {
 public:
  bool seen() const {
    const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start_).count();
    return static_cast<double>(interruptions() - before_) > 2 + 10 * seconds;  // an idle machine has a few
  }

 private:
  static int64_t interruptions() {
    struct rusage usage = {};
    ::getrusage(RUSAGE_SELF, &usage);
    return usage.ru_nivcsw;
  }
  int64_t before_ = interruptions();
  std::chrono::steady_clock::time_point start_ = std::chrono::steady_clock::now();
};

// Least seconds of each candidate: what disturbs a run only ever makes it longer.
std::vector<double> least_seconds(const std::vector<std::function<void()>>& candidates) {
  using Clock = std::chrono::steady_clock;
  std::vector<double> least(candidates.size(), std::numeric_limits<double>::infinity());
  double total = 0;
  for (int round = 0; round <= kMostRounds && (round <= kLeastRounds || total < kSeconds); ++round) {
    for (size_t i = 0; i < candidates.size(); ++i) {
      const auto start = Clock::now();
      candidates[i]();
      const double seconds = std::chrono::duration<double>(Clock::now() - start).count();
      total += seconds;
      if (round > 0) least[i] = std::min(least[i], seconds);
    }
  }
  return least;
}

// A mask with exactly `count` experts per row, all experts equally often.
torch::Tensor spread_mask(int64_t rows, int64_t experts, int64_t count) {
  const torch::Tensor row = at::arange(rows).unsqueeze(1), expert = at::arange(experts).unsqueeze(0);
  return (expert + row * 7919).remainder(experts).lt(count);  // a prime: neighbours choose unlike experts
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

// Hidden sums of the first rows, without a history: under autocast, casts of weights made here must not be
// kept.
torch::Tensor first_sums(const torch::Tensor& x, const MlpWeights& w) {
  const at::NoGradGuard no_grad;
  const torch::Tensor bias = w.b1.defined() ? w.b1.detach() : torch::Tensor();
  return at::linear(x.detach().narrow(0, 0, std::min(x.size(0), kActiveRows)), w.w1.detach(), bias);
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

double measure(MlpWeights w, int64_t experts, int64_t rows, Pass pass, double active) {
  const at::AutoGradMode mode(pass == Pass::training);
  // A sine: spread like data, without touching the generators that runs are seeded with.
  torch::Tensor x = at::arange(rows * w.d_in(), w.w1.options().dtype(at::kFloat).requires_grad(false))
                        .mul_(1.618f)
                        .sin_()
                        .view({rows, w.d_in()})
                        .to(w.w1.scalar_type());
  if (w.activation == Activation::relu && rows > 0) move_biases(w, x, active);
  if (pass == Pass::training) {
    x.requires_grad_();
    for (torch::Tensor* t : {&w.w1, &w.b1, &w.wu, &w.bu, &w.w2t, &w.b2})
      if (t->defined()) *t = t->detach().requires_grad_();
  }
  std::vector<double> shares;
  std::vector<std::function<void()>> candidates = {
      candidate(masked_dense_mlp, x, spread_mask(rows, experts, (experts + 1) / 2), w, pass)};
  for (const double share : kShares) {
    const auto count = std::max<int64_t>(1, std::lround(share * static_cast<double>(experts)));
    const double exact = static_cast<double>(count) / static_cast<double>(experts);
    if (!shares.empty() && exact <= shares.back()) continue;  // few experts
    shares.push_back(exact);
    candidates.push_back(candidate(expert_mlp, x, spread_mask(rows, experts, count), w, pass));
  }
  const std::vector<double> seconds = least_seconds(candidates);
  return crossing_share(shares, {seconds.begin() + 1, seconds.end()}, seconds[0]);
}

// Under autocast the dense path's products are of a lower precision, and faster.
bool autocast() {
  return at::autocast::is_autocast_enabled(at::kCPU);
}

std::string layer_text(const MlpWeights& w, int64_t experts, int64_t rows, Pass pass, double active) {
  std::string text = format("{} {}x{}x{} {}", c10::toString(w.w1.scalar_type()), w.d_in(), w.hidden(),
                            w.d_out(), activation_name(w.activation));
  if (w.gated()) text += " gated";
  if (!w.b1.defined()) text += " without bias";
  if (w.activation == Activation::relu) text += format(" 1/{} active", std::llround(1 / active));
  if (autocast()) text += " autocast";
  return text + format(", {} experts, {} rows, {}, {}, threads {}", experts, rows,
                       pass == Pass::training ? "training" : "inference", cpu::isa_name(cpu::isa()),
                       at::get_num_threads());
}

// The same as numbers, for the look-up at every call.
using Key = std::array<int64_t, 14>;
Key key_of(const MlpWeights& w, int64_t experts, int64_t rows, Pass pass, double active) {
  return {w.d_in(),
          w.hidden(),
          w.d_out(),
          experts,
          rows,
          w.gated() ? 1 : 0,
          w.b1.defined() ? 1 : 0,
          static_cast<int64_t>(w.activation),
          static_cast<int64_t>(w.w1.scalar_type()),
          static_cast<int64_t>(pass),
          std::llround(1 / active),
          at::get_num_threads(),
          autocast() ? 1 : 0,
          static_cast<int64_t>(cpu::isa())};
}

double look_up_or_measure(const MlpWeights& w, int64_t experts, int64_t rows, Pass pass, double active) {
  static BreakEvenTable table(cache_folder(), machine_text());
  const std::string layer = layer_text(w, experts, rows, pass, active);
  if (const auto share = table.find(layer)) return *share;
  const Disturbance disturbance;
  const double share = measure(w, experts, rows, pass, active);
  const bool keep = !disturbance.seen();
  log::debug("[break-even] {}: {:.3f}{}", layer, share, keep ? "" : ", not kept: the machine was busy");
  if (keep) table.add(layer, share);
  return share;
}

std::atomic<bool> repeatable = false;

/// What RepeatableChoice puts in place of break_even_share: less than measured with 64 experts of 24 at 1024
/// rows (0.64 for training, 0.78 for inference, one thread with AVX-512), because fewer rows and other sizes
/// have lower ones. Experts of 2 neurons did not pay in training at any share; sizes between were not
/// measured and take the dense path too.
double constant_share(const MlpWeights& w, int64_t experts, Pass pass) {
  constexpr int64_t kLeastSize = 16;
  if (w.hidden() / experts < kLeastSize) return 0;
  return pass == Pass::training ? 0.5 : 0.65;
}

bool dense_is_faster(const torch::Tensor& x, const torch::Tensor& mask, const MlpWeights& w, int64_t pairs,
                     double active) {
  const bool gradient = wants_gradient(x, w);
  if (gradient && !has_backward(x)) return true;
  if (pairs == 0) return false;  // also where there are no rows
  const double share = static_cast<double>(pairs) / static_cast<double>(mask.numel());
  if (repeatable) return share > constant_share(w, mask.size(1), gradient ? Pass::training : Pass::inference);
  return share >
         break_even_share(w, mask.size(1), x.size(0), gradient ? Pass::training : Pass::inference, active);
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

RepeatableChoice::RepeatableChoice() {
  D2D_CHECK(!repeatable.exchange(true), "[break-even]: there is a RepeatableChoice already");
}

RepeatableChoice::~RepeatableChoice() {
  repeatable = false;
}

double active_share(const torch::Tensor& x, const torch::Tensor& mask, const MlpWeights& w) {
  check_expert_mlp("active_share", x, mask, w);
  if (w.activation != Activation::relu || x.size(0) == 0) return 1;
  const torch::Tensor z = first_sums(x, w);
  const torch::Tensor chosen = mask.narrow(0, 0, z.size(0));
  const torch::Tensor active = z.gt(0).view({z.size(0), mask.size(1), -1}).to(at::kFloat).mean(2);
  const double count = chosen.sum().item<double>();
  return count == 0 ? 1 : active.mul(chosen).sum().item<double>() / count;
}

double break_even_share(const MlpWeights& w, int64_t experts, int64_t rows, Pass pass, double active) {
  if (!w.w1.is_cpu()) return has_kernel(w.w1) ? 2 : 0;
  active = active_bucket(w, active);
  static std::mutex mutex;
  static std::map<Key, double> known;
  const int64_t bucket = row_bucket(w, rows);
  const Key key = key_of(w, experts, bucket, pass, active);
  // Held while measuring: two measurements at once would disturb each other.
  const std::scoped_lock lock(mutex);
  const auto found = known.find(key);
  if (found != known.end()) return found->second;
  return known[key] = look_up_or_measure(w, experts, bucket, pass, active);
}

torch::Tensor expert_mlp_auto(const torch::Tensor& x, const torch::Tensor& mask, const MlpWeights& w,
                              bool* ran_dense, int64_t pairs, double active) {
  check_expert_mlp("expert_mlp", x, mask, w);
  const auto result = [&](bool dense, const torch::Tensor& y) {
    if (ran_dense) *ran_dense = dense;
    return y;
  };
  if (!x.is_cpu()) {
    const bool dense = !has_kernel(x) || wants_gradient(x, w) || !kernel_pays(x, mask, w);
    return result(dense, dense ? masked_dense_mlp(x, mask, w) : expert_mlp(x, mask, w));
  }
  if (pairs < 0) pairs = count_pairs(mask.contiguous());
  if (!dense_is_faster(x, mask, w, pairs, active)) return result(false, expert_mlp(x, mask, w));
  return result(true, pairs == mask.numel() ? dense_mlp(x, w) : masked_dense_mlp(x, mask, w));
}

}  // namespace d2dmoe::kernels
