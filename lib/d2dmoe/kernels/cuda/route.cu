#include "d2dmoe/kernels/cuda/route.h"

#include "d2dmoe/kernels/cuda/expert_mlp.h"
#include "d2dmoe/kernels/cuda/route_run.h"

namespace d2dmoe::kernels::cuda {

bool can_route(const RouteArgs& args) {
  int current = 0;
  return cudaGetDevice(&current) == cudaSuccess && available(current) && device::route_fits(args);
}

const char* route(const RouteArgs& args, void* stream) {
  switch (args.element) {
    case Element::float32:
      return device::run_route<float>(args, stream);
    case Element::bfloat16:
      return device::run_route<Bf16>(args, stream);
    case Element::float16:
      return device::run_route<F16>(args, stream);
  }
  return "an element type that no kernel computes with";
}

}  // namespace d2dmoe::kernels::cuda
