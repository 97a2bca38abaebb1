#include "d2dmoe/kernels/cuda/activate_chosen.h"

namespace d2dmoe::kernels::cuda {

const char* activate_chosen(const ActivateChosenArgs& args, void* stream) {
  switch (args.element) {
    case Element::float32:
      return device::run_activate_chosen<float>(args, stream);
    case Element::bfloat16:
      return device::run_activate_chosen<Bf16>(args, stream);
    case Element::float16:
      return device::run_activate_chosen<F16>(args, stream);
  }
  return "an element type that no kernel computes with";
}

}  // namespace d2dmoe::kernels::cuda
