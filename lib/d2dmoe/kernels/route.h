#pragma once

#include <c10/util/FunctionRef.h>
#include <torch/types.h>

#include <vector>

namespace d2dmoe::kernels {

/// A selection rule for one row: reads the scores of the routed experts (finite, >= 0) and writes a flag for
/// each. Called by several threads at once.
using MarkRow = c10::function_ref<void(const float* scores, bool* mask)>;

/// A router's weights in the order in which the CPU kernel reads them, filled up with zeros.
struct PackedRouter {
  struct Layer {
    /// float32: sixteen outputs side by side for each input, [ceil(outputs / 16), inputs + 1, 16], where the
    /// last place is empty. bfloat16: pairs of inputs of 32 outputs, [ceil(outputs / 32),
    /// ceil(inputs / 32) * 16, 32, 2].
    torch::Tensor panels;
    int64_t inputs = 0, outputs = 0;
  };
  std::vector<Layer> layers;
  at::ScalarType dtype = at::kFloat;  ///< of the panels, and of the rows that they serve

  int64_t d_in() const { return layers.front().inputs; }
  int64_t experts() const { return layers.back().outputs; }
};

/// @param weights  of each layer [outputs, inputs], float32 on the CPU; an output of one is an input of the
///                 next
/// @param dtype    of the rows to come: float32, or bfloat16, for which the weights are rounded
/// @throws Error   no layer, weights that do not fit, or another dtype
PackedRouter pack_router(const std::vector<torch::Tensor>& weights, at::ScalarType dtype);

/// What a router and a rule decide for the rows of a batch.
struct Routing {
  torch::Tensor scores;  ///< [N, E] float32, >= 0
  torch::Tensor mask;    ///< [N, E] bool
  int64_t pairs = -1;    ///< chosen (row, expert) pairs; -1: nobody counted them
  bool usable = true;    ///< every score is finite; if not, the mask holds nothing
};

/// Router and rule in one pass over the rows: |W_last relu(… W_0 x)|, then `mark` for each row while its
/// scores are still near the core. For float32 rows the same function as the layers one after the other, to
/// rounding; for bfloat16 rows the weights and what stands between two layers are rounded to bfloat16 too,
/// sums and scores stay float32. A row's bytes depend neither on the other rows nor on the number of threads.
/// @param x       [N, D] on the CPU, of the dtype that the router is packed for; rows may stand apart
/// @param shared  experts before the routed ones: always chosen, with the row's largest score
/// @return        over all shared + router.experts() experts
/// @throws Error  x of another shape, dtype or device
/// @ref docs/method.md §4, §6
Routing route(const torch::Tensor& x, const PackedRouter& router, int64_t shared, MarkRow mark);

}  // namespace d2dmoe::kernels
