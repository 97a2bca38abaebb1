#pragma once

namespace d2dmoe::kernels {

/// The activations of a site. All of them map 0 to 0. (Apart from activation.h, so that .cu files can see
/// it.)
enum class Activation { relu, gelu_erf, gelu_tanh, silu, tanh };

}  // namespace d2dmoe::kernels
