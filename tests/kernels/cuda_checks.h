#pragma once

#include <functional>
#include <vector>

#include "kernels/mlp_cases.h"

/// What the CUDA kernels' results have to be, emulated or on a device.
namespace d2dmoe::test {

inline const std::vector<torch::ScalarType> kCudaTypes = {torch::kFloat, torch::kBFloat16, torch::kHalf};

/// The routed layer of some kernels. @return  on the CPU
using RoutedLayer = std::function<torch::Tensor(const torch::Tensor& x, const torch::Tensor& mask,
                                                const kernels::MlpWeights& w)>;

/// Relative error of rounding to the nearest number of a type.
double epsilon_of(torch::ScalarType type);

/// Compares with the masked dense layer in float64. What may differ: rounding of float32 sums, of y, and of a
/// few activations that stand so near the middle between two numbers that the kernel's float32 falls on the
/// other side.
/// @param rounds  the kernels round the activations to x's type: the tuned ones above cuda::kDecodeRows rows
void check_result(const torch::Tensor& got, const torch::Tensor& x, const torch::Tensor& mask,
                  const kernels::MlpWeights& w, bool rounds);

/// Infinities in rows and in weights, of every type: NaN and either infinity where the dense layer has them,
/// and what is finite near to it.
void check_infinities(const RoutedLayer& layer);

}  // namespace d2dmoe::test
