#pragma once

#include <cstring>
#include <vector>

#include "d2dmoe/kernels/cuda/route.h"
#include "kernels/mlp_cases.h"
#include "kernels/simt/simt.h"

/// What the tests that run the CUDA kernels' text on the CPU share.
namespace d2dmoe::test {

/// A copy of some bytes between two stretches of NaN, 256-byte aligned like device memory: what a kernel
/// reads beyond its operands shows in its results, what it writes beyond them shows in intact().
class Guarded {
 public:
  /// @param shift  bytes that the start lies behind a multiple of 256
  explicit Guarded(size_t bytes, size_t shift = 0)
      : bytes_(bytes), memory_(bytes + shift + 3 * kGuard, kPoison) {
    const auto start = reinterpret_cast<uintptr_t>(memory_.data()) + kGuard;
    start_ = memory_.data() + kGuard + (kGuard - start % kGuard) % kGuard + shift;
  }
  explicit Guarded(const torch::Tensor& t, size_t shift = 0)
      : Guarded(t.defined() ? t.numel() * t.element_size() : 0, shift) {
    defined_ = t.defined();
    if (bytes_ > 0) std::memcpy(start_, t.contiguous().const_data_ptr(), bytes_);
  }
  void* data() { return defined_ ? start_ : nullptr; }
  bool intact() const {
    for (const uint8_t* p = memory_.data(); p < memory_.data() + memory_.size(); ++p)
      if ((p < start_ || p >= start_ + bytes_) && *p != kPoison) return false;
    return true;
  }

 private:
  static constexpr size_t kGuard = 256;
  static constexpr uint8_t kPoison = 0xff;
  size_t bytes_;
  bool defined_ = true;
  std::vector<uint8_t> memory_;
  uint8_t* start_ = nullptr;
};

/// The kernels of the routed layer: those that expert_mlp runs, and those that anyone can read.
enum class Kernels { tuned, plain };

/// Whether two tensors of one shape hold the same bytes: NaN equals itself.
bool same_bytes(const torch::Tensor& a, const torch::Tensor& b);

/// The routed layer by the CUDA kernels' text, threads in both orders: the bytes must agree.
/// @param x  [N, D] float32, bfloat16 or float16; rows may lie apart
torch::Tensor emulated_expert_mlp(Kernels kernels, const torch::Tensor& x, const torch::Tensor& mask,
                                  const kernels::MlpWeights& w);

/// Whether there is a device that runs the kernels; if not, says so.
bool on_a_device();
kernels::MlpWeights on_gpu(kernels::MlpWeights w);

/// emulated_expert_mlp by the kernels themselves.
/// @param x  on a CUDA device, like the rest
torch::Tensor on_device(Kernels kernels, const torch::Tensor& x, const torch::Tensor& mask,
                        const kernels::MlpWeights& w);

/// act(h) times `up` for chosen experts, 0 for others, by the kernel's text, threads in both orders: the
/// bytes must agree.
/// @param h     [N, F] float32, bfloat16 or float16
/// @param up    [N, F] or undefined
/// @param mask  [N, E] bool
/// @param shift elements that h lies behind a multiple of 16 bytes
torch::Tensor emulated_activate_chosen(const torch::Tensor& h, const torch::Tensor& up,
                                       const torch::Tensor& mask, kernels::Activation activation,
                                       int64_t shift = 0);

struct EmulatedRouting {
  torch::Tensor scores, mask;  ///< [N, E] float32, bool
};
/// The route kernel's text, threads in both orders: the bytes must agree.
/// @param weights  of the router's layers, float32
/// @param rule     rule, value, floor and shared are read
EmulatedRouting emulated_route(const torch::Tensor& x, const std::vector<torch::Tensor>& weights,
                               const kernels::cuda::RouteArgs& rule);
/// Whether the route kernel takes these sizes.
bool emulated_route_fits(const kernels::cuda::RouteArgs& args);
/// Rows of a band of `combine` as the emulated device chooses them.
int64_t emulated_band_rows(int64_t rows, int64_t d_out, int64_t widest);

}  // namespace d2dmoe::test
