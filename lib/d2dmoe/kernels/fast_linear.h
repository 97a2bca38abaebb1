#pragma once

#include <torch/types.h>

namespace d2dmoe::kernels {

/// y = x W^T + b, as at::linear, by the faster of two libraries that LibTorch brings.
///
/// For float32 at::linear calls MKL, which keeps to AVX2 on processors of other makers than its own; oneDNN
/// uses AVX-512 on all of them. It is called where the processor is such a one, no gradient is wanted,
/// nothing is cast, and both widths are at least 96 and multiples of 16; other widths from 256 rows on. Bytes
/// depend on which of the two computed. D2DMOE_ISA below avx512 turns oneDNN off, and so does
/// torch.backends.mkldnn.
/// @param x       [..., D_in]
/// @param weight  [D_out, D_in]
/// @param bias    [D_out] or undefined
/// @return        [..., D_out]
torch::Tensor fast_linear(const torch::Tensor& x, const torch::Tensor& weight,
                          const torch::Tensor& bias = {});
/// The same with the weight stored as [D_in, D_out], as MlpWeights::w2t.
/// @param x  [N, D_in]
torch::Tensor fast_linear_transposed(const torch::Tensor& x, const torch::Tensor& weight_t,
                                     const torch::Tensor& bias = {});

}  // namespace d2dmoe::kernels
