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

/// Times masked_dense_mlp and, at several shares, expert_mlp on made-up rows with these weights, on their
/// device. Some hundredths of a second, seconds for the widest layers. Leaves the random generators alone.
/// @param active  share of the activations that ReLU leaves above 0, for which the biases are moved; 1 = as
///                they are
/// @return        crossing_share
double time_break_even(MlpWeights w, int64_t experts, int64_t rows, Pass pass, double active);

}  // namespace d2dmoe::kernels
