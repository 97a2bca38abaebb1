#pragma once

#include "d2dmoe/kernels/activation_kind.h"
#include "d2dmoe/kernels/cuda/device.h"

namespace d2dmoe::kernels::cuda::D2DMOE_SIMT {

D2DMOE_DEVICE float activate(float z, Activation activation) {
  switch (activation) {
    case Activation::relu:
      return z < 0 ? 0.0f : z;  // keeps NaN
    case Activation::gelu_erf:
      return 0.5f * z * (1.0f + erff(z * 0.70710678118654752f));
    case Activation::gelu_tanh:
      return 0.5f * z * (1.0f + tanhf(0.79788456080286536f * (z + 0.044715f * z * z * z)));
    case Activation::silu:
      return z / (1.0f + expf(-z));
    case Activation::tanh:
      return tanhf(z);
  }
  return z;
}

}  // namespace d2dmoe::kernels::cuda::D2DMOE_SIMT
