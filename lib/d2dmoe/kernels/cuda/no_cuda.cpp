// Stands in for the .cu files in builds without CUDA.
#include "d2dmoe/kernels/cuda/expert_mlp.h"
#include "d2dmoe/kernels/cuda/route.h"

namespace d2dmoe::kernels::cuda {
namespace {

constexpr const char* kMissing = "the CUDA kernels are not part of this build";

}  // namespace

bool available(int) {
  return false;
}
const char* activate_chosen(const ActivateChosenArgs&, void*) {
  return kMissing;
}
bool captures(void*) {
  return false;
}
std::string device_text(int) {
  return "unknown";
}
size_t workspace_bytes(const ExpertMlpArgs&) {
  return 0;
}
const char* expert_mlp(const ExpertMlpArgs&, void*, void*) {
  return kMissing;
}
size_t plain_workspace_bytes(const ExpertMlpArgs&) {
  return 0;
}
const char* plain_expert_mlp(const ExpertMlpArgs&, void*, void*) {
  return kMissing;
}
bool can_route(const RouteArgs&) {
  return false;
}
const char* route(const RouteArgs&, void*) {
  return kMissing;
}

}  // namespace d2dmoe::kernels::cuda
