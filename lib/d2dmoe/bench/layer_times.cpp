#include "d2dmoe/bench/layer_times.h"

#include <torch/types.h>

#include <algorithm>
#include <chrono>
#include <cmath>

#include "d2dmoe/bench/stopwatch.h"
#include "d2dmoe/core/device.h"
#include "d2dmoe/core/error.h"
#include "d2dmoe/core/seconds_since.h"
#include "d2dmoe/core/signals.h"
#include "d2dmoe/kernels/active_share.h"
#include "d2dmoe/kernels/break_even.h"

namespace d2dmoe::bench {
namespace {

using Clock = std::chrono::steady_clock;

constexpr int64_t kFewestTurns = 5;  // of points whose single run takes seconds
constexpr int64_t kCheckedRows = 8;

/// A site without neighbours: what ExpertFeedForward::forward wants to be told.
data::Batch batch_of(const torch::Tensor& x) {
  data::Batch batch;
  batch.token_ids = torch::zeros({x.size(0)}, x.options().dtype(torch::kLong));
  batch.lengths = {x.size(0)};
  return batch;
}

torch::Tensor run_layer(moe::ExpertFeedForward& layer, const LayerCase& c, nn::ForwardContext& context) {
  static const nn::SiteId site{0, "bench", 0, nn::SiteKind::ffn};
  context.selection = &c.selection;
  return layer.forward(c.x, site, context);
}

class MaskRecorder : public nn::Observer {
 public:
  void on_routing(const nn::SiteId&, const torch::Tensor&, const torch::Tensor& mask, bool) override {
    mask_ = mask;
  }
  const torch::Tensor& mask() const { return mask_; }

 private:
  torch::Tensor mask_;
};

/// The share of an element's size, and of the root mean square, that rounding explains. float32: sums of
/// thousands of products. Half precision: hidden activations and outputs are rounded; 8 units of roundoff are
/// far beyond what thousands of elements show, and far below one expert too few.
double tolerance(torch::ScalarType dtype) {
  constexpr double kUnits = 8;
  if (dtype == torch::kBFloat16) return kUnits / (1 << 8);
  return dtype == torch::kHalf ? kUnits / (1 << 11) : 1e-4;
}

/// The layer by at::linear: the baseline that others can repeat.
torch::Tensor plain_dense(const torch::Tensor& x, const kernels::MlpWeights& w) {
  auto h = at::linear(x, w.w1, w.b1);
  kernels::activate_in_place(h, w.activation);
  if (w.gated()) h.mul_(at::linear(x, w.wu, w.bu));
  return at::linear(h, w.w2t.t(), w.b2);
}

/// Operands as float64, so that the reference is not rounded.
kernels::MlpWeights wide(kernels::MlpWeights w) {
  for (auto* t : {&w.w1, &w.b1, &w.wu, &w.bu, &w.w2t, &w.b2})
    if (t->defined()) *t = t->to(torch::kCPU, torch::kFloat64);
  return w;
}

std::vector<int64_t> checked_rows(int64_t rows) {
  std::vector<int64_t> chosen;
  const int64_t count = std::min(rows, kCheckedRows);
  for (int64_t i = 0; i < count; ++i) chosen.push_back(count == 1 ? 0 : i * (rows - 1) / (count - 1));
  return chosen;
}

double element_bytes(const kernels::MlpWeights& w) {
  return static_cast<double>(w.w1.element_size());
}

/// Multiply-accumulates of one row in one neuron of every matrix.
double row_weights(const kernels::MlpWeights& w) {
  return static_cast<double>(w.d_in() * (w.gated() ? 2 : 1) + w.d_out());
}

nlohmann::ordered_json json_of(const eval::Spread& ms) {
  return {{"median_ms", ms.median}, {"p10_ms", ms.p10}, {"p90_ms", ms.p90}};
}

nlohmann::ordered_json json_of(const eval::Spread& ms, const eval::Spread& dense, const eval::Spread& ratio) {
  auto json = json_of(ms);
  json["ratio"] = ms.median / dense.median;
  json["ratio_p10"] = ratio.p10;
  json["ratio_p90"] = ratio.p90;
  return json;
}

}  // namespace

torch::Tensor chosen_experts(const LayerCase& c) {
  const torch::NoGradGuard no_grad;
  const auto batch = batch_of(c.x);
  MaskRecorder recorder;
  nn::ForwardContext context(batch);
  context.observers.push_back(&recorder);
  run_layer(*c.layers.front(), c, context);
  return recorder.mask();
}

torch::Tensor similar_order(const torch::Tensor& mask) {
  const auto by_use = mask.sum(0).argsort(/*stable=*/true, /*dim=*/0, /*descending=*/true);
  const auto words = mask.cpu().index_select(1, by_use.cpu()).contiguous();
  const int64_t rows = words.size(0), experts = words.size(1);
  const bool* bits = words.const_data_ptr<bool>();
  auto order = torch::arange(rows);
  int64_t* first = order.mutable_data_ptr<int64_t>();
  std::stable_sort(first, first + rows, [&](int64_t a, int64_t b) {
    return std::lexicographical_compare(bits + b * experts, bits + (b + 1) * experts, bits + a * experts,
                                        bits + (a + 1) * experts);
  });
  return order;
}

void validate(const std::vector<Candidate>& candidates, const torch::Tensor& x,
              const kernels::MlpWeights& weights) {
  const torch::NoGradGuard no_grad;
  const auto index = torch::tensor(checked_rows(x.size(0)), torch::kLong).to(x.device());
  const auto rows = x.index_select(0, index).to(torch::kCPU, torch::kFloat64);
  const auto exact = wide(weights);
  torch::Tensor known_mask, want;  // candidates of the same mask share one slow computation
  for (const auto& candidate : candidates) {
    if (!known_mask.is_same(candidate.mask)) {
      known_mask = candidate.mask;
      want = kernels::expert_mlp_reference(rows, known_mask.index_select(0, index).to(torch::kCPU), exact);
    }
    const auto got = candidate.run(0).index_select(0, index).to(torch::kCPU, torch::kFloat64);
    const auto off = (got - want).abs();
    const double scale = want.square().mean().sqrt().item<double>();
    const auto bound = (want.abs() / 4 + scale) * tolerance(x.scalar_type());
    // NaN is never within bounds.
    D2D_CHECK(off.le(bound).all().item<bool>(),
              "[bench] '{}': is off the reference by {:.3g} (root mean square {:.3g}): wrong results are not "
              "timed",
              candidate.name, off.max().item<double>(), scale);
  }
}

eval::TurnClock time_in_turn(const std::vector<Candidate>& candidates, const TimingBudget& budget) {
  const torch::NoGradGuard no_grad;
  eval::TurnClock clock(candidates.size());
  size_t turn = 0;
  const auto measure = [&](size_t candidate) {
    return run_ms([&] { return candidates[candidate].run(turn); });
  };
  for (; turn < 2; ++turn)
    for (size_t i = 0; i < candidates.size(); ++i) measure(i);
  const auto start = Clock::now();
  for (int64_t i = 0; i < budget.runs; ++i, ++turn) {
    clock.measure(measure);
    if (stop_requested()) throw Interrupted("[bench] stopped");
    const double passed = seconds_since(start);
    if (passed >= budget.seconds && i + 1 >= std::min(kFewestTurns, budget.runs)) break;
  }
  return clock;
}

LayerPoint time_layer(const LayerCase& c, const TimingBudget& budget) {
  const torch::NoGradGuard no_grad;
  const auto mask = chosen_experts(c);
  std::vector<kernels::MlpWeights> weights;
  for (const auto& layer : c.layers) weights.push_back(layer->weights());
  const auto& w = weights.front();
  const auto at = [&](size_t turn) { return turn % weights.size(); };
  const auto batch = batch_of(c.x);
  nn::ForwardContext context(batch);
  const double active = c.x.is_cpu() ? kernels::active_share(c.x, mask, w) : 1;
  const int64_t pairs = c.x.is_cpu() ? -1 : mask.sum().item<int64_t>();  // a layer knows about how many

  std::vector<Candidate> candidates = {
      {"dense", [&](size_t t) { return plain_dense(c.x, weights[at(t)]); }, torch::ones_like(mask)},
      {"dense path", [&](size_t t) { return kernels::dense_mlp(c.x, weights[at(t)]); },
       torch::ones_like(mask)},
      {"kernel", [&](size_t t) { return kernels::expert_mlp(c.x, mask, weights[at(t)]); }, mask},
      {"auto",
       [&](size_t t) { return kernels::expert_mlp_auto(c.x, mask, weights[at(t)], nullptr, pairs, active); },
       mask},
      {"layer", [&](size_t t) { return run_layer(*c.layers[at(t)], c, context); }, mask},
  };
  torch::Tensor order, back, sorted_x, sorted_mask;
  if (c.ordered) {
    order = similar_order(mask).to(c.x.device());
    back = order.argsort();
    sorted_x = c.x.index_select(0, order), sorted_mask = mask.index_select(0, order);
    candidates.push_back({"moved",
                          [&](size_t t) {
                            const auto y =
                                kernels::expert_mlp(c.x.index_select(0, order), sorted_mask, weights[at(t)]);
                            return y.index_select(0, back);
                          },
                          mask});
  }
  // A layer's first call looks at its mask where others take an estimate (ExpertFeedForward).
  for (const auto& layer : c.layers) run_layer(*layer, c, context);
  validate(candidates, c.x, w);
  const auto route = [&](size_t turn) {
    // The layer runs no router under 'all'.
    return c.selection.rule == "all" ? mask : c.layers[at(turn)]->route(c.x, c.selection).mask;
  };
  D2D_CHECK(at::equal(route(0), mask),
            "[bench] 'routing': chooses other experts than the layer runs: wrong results are not timed");
  auto timed = candidates;
  timed.push_back({"routing", route, mask});
  if (c.ordered)
    timed.push_back({"ordered",
                     [&](size_t t) { return kernels::expert_mlp(sorted_x, sorted_mask, weights[at(t)]); },
                     sorted_mask});
  const auto clock = time_in_turn(timed, budget);
  const auto index = [&](std::string_view name) {
    const auto found =
        std::find_if(timed.begin(), timed.end(), [&](const Candidate& t) { return t.name == name; });
    return static_cast<size_t>(found - timed.begin());
  };
  const auto spread = [&](std::string_view name) { return clock.spread(index(name)); };
  const auto ratio = [&](std::string_view name) { return clock.ratio(index(name), index("dense")); };

  LayerPoint p;
  p.rows = c.x.size(0);
  p.share = mask.sum().item<double>() / static_cast<double>(mask.numel());
  p.touched = mask.any(0).sum().item<double>() / static_cast<double>(mask.size(1));
  p.turns = clock.turns();
  p.copies = static_cast<int64_t>(c.layers.size());
  p.dense = spread("dense"), p.dense_path = spread("dense path"), p.kernel = spread("kernel");
  p.automatic = spread("auto"), p.layer = spread("layer"), p.routing = spread("routing");
  if (c.ordered) p.ordered = spread("ordered"), p.moved = spread("moved");
  p.dense_path_ratio = ratio("dense path"), p.kernel_ratio = ratio("kernel");
  p.automatic_ratio = ratio("auto"), p.layer_ratio = ratio("layer");
  p.dense_flops = 2 * static_cast<double>(p.rows * w.hidden()) * row_weights(w);
  p.kernel_flops = p.share * p.dense_flops;
  p.dense_bytes = static_cast<double>(w.hidden()) * row_weights(w) * element_bytes(w);
  p.kernel_bytes = p.touched * p.dense_bytes;
  return p;
}

nlohmann::ordered_json LayerPoint::to_json(const MachinePeaks& peaks) const {
  const double peak = waits_for_weights() ? peaks.gigabytes : peaks.gflops;
  const auto rate = [&](const eval::Spread& ms, double flops, double bytes) {
    return (waits_for_weights() ? bytes : flops) / ms.median * 1e-6;
  };
  const double dense_rate = rate(dense, dense_flops, dense_bytes);
  const double kernel_rate = rate(kernel, kernel_flops, kernel_bytes);
  nlohmann::ordered_json json = {{"rows", rows},
                                 {"share", share},
                                 {"touched", touched},
                                 {"turns", turns},
                                 {"copies", copies},
                                 {"dense", json_of(dense)},
                                 {"dense_path", json_of(dense_path, dense, dense_path_ratio)},
                                 {"kernel", json_of(kernel, dense, kernel_ratio)},
                                 {"auto", json_of(automatic, dense, automatic_ratio)},
                                 {"routing", json_of(routing)},
                                 {"layer", json_of(layer, dense, layer_ratio)},
                                 {"rate",
                                  {{"unit", waits_for_weights() ? "GB/s" : "GFLOP/s"},
                                   {"dense", dense_rate},
                                   {"kernel", kernel_rate},
                                   {"dense_of_peak", dense_rate / peak},
                                   {"kernel_of_peak", kernel_rate / peak}}}};
  if (ordered) {
    json["ordered"] = json_of(*ordered);
    json["moved"] = json_of(*moved);
  }
  return json;
}

}  // namespace d2dmoe::bench
