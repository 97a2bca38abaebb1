#include "d2dmoe/kernels/cuda/elements.h"
#include "d2dmoe/kernels/cuda/hopper/run.h"

namespace d2dmoe::kernels::cuda {
namespace {

template <class T>
hopper::Queue<T> queue_of(const ExpertMlpArgs& args, void* workspace, void* stream) {
  return hopper::Queue<T>(
      device::Run<T>{TypedMlpArgs<T>(args), plan_of(args), static_cast<char*>(workspace), stream});
}

}  // namespace

bool hopper_takes(const ExpertMlpArgs& args, void* workspace) {
  switch (args.element) {
    case Element::float32:
      return false;
    case Element::bfloat16:
      return queue_of<Bf16>(args, workspace, nullptr).takes();
    case Element::float16:
      return queue_of<F16>(args, workspace, nullptr).takes();
  }
  return false;
}

const char* run_hopper(const ExpertMlpArgs& args, void* workspace, void* stream) {
  return args.element == Element::bfloat16 ? queue_of<Bf16>(args, workspace, stream).all()
                                           : queue_of<F16>(args, workspace, stream).all();
}

}  // namespace d2dmoe::kernels::cuda
