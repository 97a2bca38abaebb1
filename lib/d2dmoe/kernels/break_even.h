#pragma once

#include <vector>

#include "d2dmoe/kernels/expert_mlp.h"

namespace d2dmoe::kernels {

/// What a layer is run for: its output alone, or its output and all its gradients.
enum class Pass { inference, training };

/// Where the routed path is as fast as the dense one, its time taken as linear between the shares at which it
/// was timed: behind the last of them at which it is not slower.
/// @param shares  of the chosen pairs, ascending
/// @param routed  seconds of the routed path at each
/// @param dense   seconds of the dense path at any share
/// @return        a share; 0 where the routed path is slower at all of them, 2 where it is not at the last
double crossing_share(const std::vector<double>& shares, const std::vector<double>& routed, double dense);

/// Rows that active_share looks at: enough to tell one power of two from the next.
constexpr int64_t kActiveRows = 64;

/// Of the hidden activations of chosen experts the share that ReLU leaves above 0, in the first kActiveRows
/// rows; 1 where nothing is chosen and for other activations. Zeros cost the routed path less, the dense path
/// as much as any number.
/// @param x     [N, D] as the layer gets it
/// @param mask  [N, E] bool
double active_share(const torch::Tensor& x, const torch::Tensor& mask, const MlpWeights& w);

/// The share of chosen (row, expert) pairs above which masked_dense_mlp is faster than expert_mlp on this
/// machine's CPU: 0 = the dense path always is, 2 = the routed path always is.
///
/// Measured when first asked for (each shape, dtype, activation, active share, instruction set, number of
/// threads and power of two of rows; a few hundredths of a second, seconds for the widest layers) on made-up
/// rows with these weights, and kept in the machine's table (break_even_table.h) unless other programs
/// disturbed it. Thread-safe. It decides only which way the same function is computed. On other devices
/// nothing is measured: 2 where expert_mlp has a kernel (whether it pays is kernel_pays), else 0.
/// @param rows  token rows of a call; from 1024 on, and where the dense layer takes more than 4e10 FLOPs, the
///              figure of fewer rows holds
/// @param active  active_share of the layer, read for ReLU alone: what is up to 1/32, 1/16, 1/8, 1/4 or
///                above has one figure each (the last of them measured at 1/2), for which the made-up rows'
///                biases are moved
double break_even_share(const MlpWeights& w, int64_t experts, int64_t rows, Pass pass = Pass::inference,
                        double active = 1);

/// While it lives, expert_mlp_auto on the CPU chooses its way by constants near to what is measured, not by
/// measurements and by what came before: a training run that was stopped then ends at the bytes of the one
/// that was not. One at a time, for all threads.
class RepeatableChoice {
 public:
  RepeatableChoice();
  ~RepeatableChoice();
  RepeatableChoice(const RepeatableChoice&) = delete;
  RepeatableChoice& operator=(const RepeatableChoice&) = delete;
};

/// The routed layer by the faster way: where the chosen share is larger than break_even_share, dense_mlp if
/// no expert is skipped and masked_dense_mlp otherwise; else expert_mlp, which can be faster than the dense
/// layer even with every expert, because it skips the zeros of ReLU. On other devices than the CPU the mask
/// is not looked at, which would stall them: expert_mlp where it has a kernel that pays, else
/// masked_dense_mlp.
/// @param ran_dense  set to whether every expert's product was computed; may be null
/// @param pairs      chosen pairs of the mask; -1 = not known: counted
/// @param active     as for break_even_share
torch::Tensor expert_mlp_auto(const torch::Tensor& x, const torch::Tensor& mask, const MlpWeights& w,
                              bool* ran_dense, int64_t pairs = -1, double active = 1);

}  // namespace d2dmoe::kernels
