#pragma once

#include "d2dmoe/kernels/break_even_timing.h"
#include "d2dmoe/kernels/expert_mlp.h"

namespace d2dmoe::kernels {

/// The share of chosen (row, expert) pairs above which masked_dense_mlp is faster than expert_mlp on this
/// machine, on the device of the weights: 0 = the dense path always is, 2 = the routed path always is, and
/// always chosen: while a CUDA graph is captured and no table has the figure yet, or where a device's memory
/// does not hold what is timed. 0 on other devices than the CPU where expert_mlp has no kernel.
///
/// Timed when first asked for (time_break_even: each device, shape, dtype, activation and power of two of
/// rows; on the CPU also each active share, instruction set and number of threads) and kept in the machine's
/// table (break_even_table.h) unless other programs took this one's processors meanwhile. Thread-safe. It
/// decides only which way the same function is computed.
/// @param rows  token rows of a call. On the CPU the figure of the power of two at or above them holds, at
///              most 1024 and a dense layer of 4e10 FLOPs; elsewhere that at or below (above 16 rows, where
///              other kernels run, at least 32), at most 16384 and 1e12
/// @param active  active_share of the layer, read for ReLU on the CPU alone: what is up to 1/32, 1/16, 1/8,
///                1/4 or above has one figure each (the last of them timed at 1/2)
double break_even_share(const MlpWeights& w, int64_t experts, int64_t rows, Pass pass = Pass::inference,
                        double active = 1);

/// Whether the chosen share decides which way expert_mlp_auto goes for these rows, on another device than the
/// CPU: no gradient is wanted, there is no RepeatableChoice, and the break-even share is neither 0 nor 2.
bool share_decides(const torch::Tensor& x, int64_t experts, const MlpWeights& w);

/// While it lives, expert_mlp_auto chooses its way by constants near to what is measured (on other devices
/// than the CPU always the dense path), not by measurements and by what came before: a training run that was
/// stopped then ends at the bytes of the one that was not. One at a time, for all threads.
class RepeatableChoice {
 public:
  RepeatableChoice();
  ~RepeatableChoice();
  RepeatableChoice(const RepeatableChoice&) = delete;
  RepeatableChoice& operator=(const RepeatableChoice&) = delete;
};

/// The routed layer by the faster way: where the chosen share is larger than break_even_share, dense_mlp if
/// no expert is skipped and masked_dense_mlp otherwise; else expert_mlp, which can be faster than the dense
/// layer even with every expert, because on the CPU it skips the zeros of ReLU. Other devices than the CPU
/// take the dense path where a gradient is wanted, and never dense_mlp.
/// @param ran_dense  set to whether every expert's product was computed; may be null
/// @param pairs      chosen pairs of the mask, an estimate will do on other devices than the CPU. -1 = not
///                   known: counted, which waits for the device (while a CUDA graph is captured: expert_mlp)
/// @param active     as for break_even_share
torch::Tensor expert_mlp_auto(const torch::Tensor& x, const torch::Tensor& mask, const MlpWeights& w,
                              bool* ran_dense, int64_t pairs = -1, double active = 1);

}  // namespace d2dmoe::kernels
