#pragma once

#include "d2dmoe/kernels/activation_kind.h"
#include "d2dmoe/kernels/cuda/device.h"

namespace d2dmoe::kernels::cuda::D2DMOE_SIMT {

template <Activation kActivation>
D2DMOE_DEVICE float activate(float z) {
  if constexpr (kActivation == Activation::relu)
    return z < 0 ? 0.0f : z;  // keeps NaN
  else if constexpr (kActivation == Activation::gelu_erf)
    return 0.5f * z * (1.0f + erff(z * 0.70710678118654752f));
  else if constexpr (kActivation == Activation::gelu_tanh)
    return 0.5f * z * (1.0f + tanhf(0.79788456080286536f * (z + 0.044715f * z * z * z)));
  else if constexpr (kActivation == Activation::silu)
    return z / (1.0f + expf(-z));
  else
    return tanhf(z);
}

/// An activation as a type, for with_activation.
template <Activation kActivation>
struct Activating {
  D2DMOE_DEVICE float operator()(float z) const { return activate<kActivation>(z); }
};

/// Calls `use` with the activation's function. Branches once, around everything that `use` does: a switch for
/// each of many unrolled elements would be more code than the instruction cache holds.
template <class Use>
D2DMOE_DEVICE void with_activation(Activation activation, const Use& use) {
  switch (activation) {
    case Activation::relu:
      return use(Activating<Activation::relu>());
    case Activation::gelu_erf:
      return use(Activating<Activation::gelu_erf>());
    case Activation::gelu_tanh:
      return use(Activating<Activation::gelu_tanh>());
    case Activation::silu:
      return use(Activating<Activation::silu>());
    case Activation::tanh:
      return use(Activating<Activation::tanh>());
  }
}

/// For kernels that do not unroll.
D2DMOE_DEVICE float activate(float z, Activation activation) {
  with_activation(activation, [&](auto f) { z = f(z); });
  return z;
}

}  // namespace d2dmoe::kernels::cuda::D2DMOE_SIMT
