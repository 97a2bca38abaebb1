#pragma once

#include <torch/types.h>

#include <functional>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "d2dmoe/bench/machine_peaks.h"
#include "d2dmoe/eval/paired_times.h"
#include "d2dmoe/moe/expert_feed_forward.h"

namespace d2dmoe::bench {

/// How long a point is timed.
struct TimingBudget {
  int64_t runs = 50;   ///< turns; the point ends with them,
  double seconds = 2;  ///< or after so many seconds with at least 5 turns
};

/// A routed layer, rows for it and the selection that decides which experts these run.
struct LayerCase {
  /// The same layer once or several times: each turn takes the next, so that weights come from memory, as in
  /// a model whose layers follow each other, and not from a cache that holds the only layer there is.
  std::vector<std::shared_ptr<moe::ExpertFeedForward>> layers;
  torch::Tensor x;  ///< [N, D]
  moe::Selection selection;
  bool ordered = false;  ///< time the kernel on rows in similar_order, too
};

/// The experts that the layer's own router and selection choose for the rows. @return  [N, E] bool
torch::Tensor chosen_experts(const LayerCase& layer_case);

/// An order in which rows that choose alike stand together: by their choices as words, the expert that most
/// rows choose first. Experts that every row chooses say nothing, and those that few choose decide last.
/// @param mask  [N, E] bool
/// @return      [N] int64
torch::Tensor similar_order(const torch::Tensor& mask);

/// One way to compute the layer, as it is validated and timed.
struct Candidate {
  std::string name;
  std::function<torch::Tensor(size_t turn)> run;  ///< @return  [N, D_out]
  torch::Tensor mask;                             ///< of which it must be the layer; [N, E] bool
};

/// Runs each candidate on all rows and compares up to 8 of these, the first and the last among them, with
/// kernels::expert_mlp_reference, which computes in float64.
/// @throws Error  an element is off by more than the dtype's rounding explains: wrong results are not timed
void validate(const std::vector<Candidate>& candidates, const torch::Tensor& x,
              const kernels::MlpWeights& weights);

/// Runs the candidates in turn until the budget is spent, after a turn or two that are not counted.
/// @throws Interrupted  a stop was asked for
eval::TurnClock time_in_turn(const std::vector<Candidate>& candidates, const TimingBudget& budget);

/// The times of one layer on one batch of rows.
struct LayerPoint {
  int64_t rows = 0;
  double share = 0;    ///< of the (row, expert) pairs that run
  double touched = 0;  ///< of the experts: those that any row chose
  int64_t turns = 0, copies = 1;
  /// Milliseconds. dense: the dense layer by at::linear; dense_path: kernels::dense_mlp, what a model's dense
  /// layer runs (another library's products where they are faster); kernel: expert_mlp with the mask given;
  /// automatic: the faster of kernel and masked dense product, as the layer decides; routing: router and
  /// selection, as the layer runs them (nothing under the rule "all"); layer: all that the routed layer does.
  eval::Spread dense, dense_path, kernel, automatic, routing, layer;
  /// Where asked for. ordered: kernel on rows in similar_order; moved: the same with the rows brought there
  /// and their results brought back.
  std::optional<eval::Spread> ordered, moved;
  /// Of the same turn: over dense.
  eval::Spread dense_path_ratio, kernel_ratio, automatic_ratio, layer_ratio;
  double dense_flops = 0, kernel_flops = 0;  ///< 2 per multiply-accumulate of the chosen pairs
  double dense_bytes = 0, kernel_bytes = 0;  ///< of the weights of the experts touched

  /// Rows up to which weights are what a layer waits for: its rate is then in GB/s, else in GFLOP/s.
  static constexpr int64_t kMostBandwidthRows = 16;
  bool waits_for_weights() const { return rows <= kMostBandwidthRows; }
  double ratio() const { return layer.median / dense.median; }
  nlohmann::ordered_json to_json(const MachinePeaks& peaks) const;
};

/// Validates every way to compute the layer, then times them in turn.
/// @throws Error        see validate
/// @throws Interrupted  a stop was asked for
LayerPoint time_layer(const LayerCase& layer_case, const TimingBudget& budget);

}  // namespace d2dmoe::bench
