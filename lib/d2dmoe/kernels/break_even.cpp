#include "d2dmoe/kernels/break_even.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <ATen/autocast_mode.h>
#include <sys/resource.h>

#include <array>
#include <atomic>
#include <chrono>
#include <cmath>
#include <map>
#include <mutex>
#include <optional>

#include "d2dmoe/core/error.h"
#include "d2dmoe/core/log.h"
#include "d2dmoe/core/seconds_since.h"
#include "d2dmoe/kernels/break_even_table.h"
#include "d2dmoe/kernels/cpu/isa.h"
#include "d2dmoe/kernels/cuda/expert_mlp.h"
#include "d2dmoe/kernels/cuda/plan.h"
#include "d2dmoe/kernels/device_call.h"
#include "d2dmoe/kernels/expert_mlp_checks.h"
#include "d2dmoe/kernels/expert_mlp_gradient.h"
#include "d2dmoe/kernels/row_lists.h"

namespace d2dmoe::kernels {
namespace {

// Of a layer that is timed: a fifth of a second on two cores, some hundredths on a GPU.
struct Largest {
  int64_t rows;
  double flops;
};
constexpr Largest kLargestOnCpu{1024, 4e10}, kLargestOnDevice{16384, 1e12};

// Active shares up to a power of two are taken for one: from 1/2, as random rows have it, down to this. (With
// fewer, the first product is all that is left.)
constexpr double kLeastActive = 1.0 / 32;

double active_bucket(const MlpWeights& w, double active) {
  if (w.activation != Activation::relu || !w.w1.is_cpu()) return 1;
  double bucket = 0.5;
  while (bucket > kLeastActive && active <= bucket / 2) bucket /= 2;
  return bucket;
}

double dense_flops(const MlpWeights& w, int64_t rows) {
  const int64_t products = (w.gated() ? 2 : 1) * w.d_in() + w.d_out();
  return 2.0 * static_cast<double>(rows) * static_cast<double>(w.hidden() * products);
}

int64_t row_bucket(const MlpWeights& w, int64_t rows) {
  const bool on_cpu = w.w1.is_cpu();
  const Largest& largest = on_cpu ? kLargestOnCpu : kLargestOnDevice;
  // A device's memory may just hold this call: none with more rows is made up.
  const auto below = [&](int64_t bucket) { return on_cpu ? bucket < rows : 2 * bucket <= rows; };
  int64_t bucket = 1;
  while (below(bucket) && bucket < largest.rows && dense_flops(w, 2 * bucket) <= largest.flops) bucket *= 2;
  if (!on_cpu && bucket == cuda::kDecodeRows && rows > bucket) bucket *= 2;  // other kernels run there
  return bucket;
}

// Whether other programs took this one's processors while it measured: how often it was put aside. Threads
// that wait for one that was put aside make times many times too long, the least among them too.
class Disturbance {
 public:
  bool seen() const {
    const double seconds = seconds_since(start_);
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

// Under autocast the dense path's products are of a lower precision, and faster.
bool autocast(const MlpWeights& w) {
  return at::autocast::is_autocast_enabled(w.w1.device().type());
}

// What computes: on the CPU by which instructions, on how many threads.
std::string device_text(const MlpWeights& w) {
  if (!w.w1.is_cpu()) return cuda::device_text(w.w1.device().index());
  return format("{}, threads {}", cpu::isa_name(cpu::isa()), at::get_num_threads());
}

std::string layer_text(const MlpWeights& w, int64_t experts, int64_t rows, Pass pass, double active) {
  std::string text = format("{} {}x{}x{} {}", c10::toString(w.w1.scalar_type()), w.d_in(), w.hidden(),
                            w.d_out(), activation_name(w.activation));
  if (w.gated()) text += " gated";
  if (!w.b1.defined()) text += " without bias";
  if (w.activation == Activation::relu && w.w1.is_cpu())
    text += format(" 1/{} active", std::llround(1 / active));
  if (autocast(w)) text += " autocast";
  return text + format(", {} experts, {} rows, {}, {}", experts, rows,
                       pass == Pass::training ? "training" : "inference", device_text(w));
}

// The same as numbers, for the look-up at every call.
using Key = std::array<int64_t, 15>;
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
          w.w1.is_cpu() ? at::get_num_threads() : -1,
          autocast(w) ? 1 : 0,
          w.w1.is_cpu() ? static_cast<int64_t>(cpu::isa()) : -1,
          w.w1.is_cpu() ? -1 : w.w1.device().index()};
}

std::optional<double> look_up_or_measure(const MlpWeights& w, int64_t experts, int64_t rows, Pass pass,
                                         double active) {
  static BreakEvenTable table(cache_folder(), machine_text());
  const std::string layer = layer_text(w, experts, rows, pass, active);
  if (const auto share = table.find(layer)) return *share;
  if (is_captured(w.w1)) return std::nullopt;
  const Disturbance disturbance;
  double share;
  try {
    share = time_break_even(w, experts, rows, pass, active);
  } catch (const c10::OutOfMemoryError&) {
    log::debug("[break-even] {}: the device's memory does not hold what is timed", layer);
    return 2;  // not kept for other processes
  }
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

/// @param pairs  as for expert_mlp_auto
bool dense_is_faster(const torch::Tensor& x, const torch::Tensor& mask, const MlpWeights& w, int64_t pairs,
                     double active) {
  const bool gradient = wants_gradient(x, w);
  if (gradient ? !has_backward(x) : !x.is_cpu() && !has_kernel(x)) return true;
  if (pairs == 0 || mask.numel() == 0) return false;
  if (repeatable && !x.is_cpu()) return true;  // estimates of pairs are of calls that came before
  const Pass pass = gradient ? Pass::training : Pass::inference;
  const double most = repeatable ? constant_share(w, mask.size(1), pass)
                                 : break_even_share(w, mask.size(1), x.size(0), pass, active);
  if (most <= 0 || most >= 2) return most <= 0;
  if (pairs < 0) {
    if (is_captured(mask)) return false;
    pairs = mask.sum().item<int64_t>();
  }
  return static_cast<double>(pairs) / static_cast<double>(mask.numel()) > most;
}

}  // namespace

RepeatableChoice::RepeatableChoice() {
  D2D_CHECK(!repeatable.exchange(true), "[break-even]: there is a RepeatableChoice already");
}

RepeatableChoice::~RepeatableChoice() {
  repeatable = false;
}

double break_even_share(const MlpWeights& w, int64_t experts, int64_t rows, Pass pass, double active) {
  if (!w.w1.is_cpu() && !has_kernel(w.w1)) return 0;
  active = active_bucket(w, active);
  static std::mutex mutex;
  static std::map<Key, double> known;
  const int64_t bucket = row_bucket(w, rows);
  const Key key = key_of(w, experts, bucket, pass, active);
  // Held while measuring: two measurements at once would disturb each other.
  const std::scoped_lock lock(mutex);
  const auto found = known.find(key);
  if (found != known.end()) return found->second;
  const auto share = look_up_or_measure(w, experts, bucket, pass, active);
  if (!share) return 2;
  return known[key] = *share;
}

bool share_decides(const torch::Tensor& x, int64_t experts, const MlpWeights& w) {
  if (x.is_cpu() || x.size(0) == 0 || repeatable || wants_gradient(x, w) || !has_kernel(x)) return false;
  const double share = break_even_share(w, experts, x.size(0));
  return share > 0 && share < 2;
}

torch::Tensor expert_mlp_auto(const torch::Tensor& x, const torch::Tensor& mask, const MlpWeights& w,
                              bool* ran_dense, int64_t pairs, double active) {
  check_expert_mlp("expert_mlp", x, mask, w);
  const auto result = [&](bool dense, const torch::Tensor& y) {
    if (ran_dense) *ran_dense = dense;
    return y;
  };
  if (x.is_cpu() && pairs < 0) pairs = count_pairs(mask.contiguous());
  if (!dense_is_faster(x, mask, w, pairs, active)) return result(false, expert_mlp(x, mask, w));
  const bool all = x.is_cpu() && pairs == mask.numel();
  return result(true, all ? dense_mlp(x, w) : masked_dense_mlp(x, mask, w));
}

}  // namespace d2dmoe::kernels
