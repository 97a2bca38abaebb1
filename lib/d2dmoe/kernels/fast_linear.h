#pragma once

#include <torch/types.h>

namespace d2dmoe::kernels {

/// y = x W^T + b, as at::linear, by the faster of two libraries that LibTorch brings.
///
/// For float32 at::linear calls MKL, which keeps to AVX2 on processors of other makers than its own; oneDNN
/// uses AVX-512 on all of them. It is called where the processor is such a one, no gradient is wanted,
/// nothing is cast, and both widths are wide enough for it (docs/benchmarks.md shows both). The rule does not
/// look at the number of rows. D2DMOE_ISA below avx512 turns it off.
/// @param x       [..., D_in]
/// @param weight  [D_out, D_in]
/// @param bias    [D_out] or undefined
/// @return        [..., D_out]
torch::Tensor fast_linear(const torch::Tensor& x, const torch::Tensor& weight,
                          const torch::Tensor& bias = {});
/// The same with the weight stored as [D_in, D_out], as MlpWeights::w2t.
torch::Tensor fast_linear_transposed(const torch::Tensor& x, const torch::Tensor& weight_t,
                                     const torch::Tensor& bias = {});

}  // namespace d2dmoe::kernels
