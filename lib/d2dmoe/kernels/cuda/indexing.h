#pragma once

#include <cstddef>
#include <cstdint>

#include "d2dmoe/kernels/expert_mlp_args.h"

#if defined(__CUDACC__)
#define D2DMOE_HOST_DEVICE __host__ __device__
#else
#define D2DMOE_HOST_DEVICE
#endif

/// Every index that the CUDA kernels compute, in functions that the tests run on the CPU as well.
namespace d2dmoe::kernels::cuda {

constexpr int kTileRows = 16, kTileNeurons = 16, kTileInputs = 32;  // of the projection; 16 * 16 threads
constexpr int kColumns = 128;  // of the output that one block of `combine` makes

/// Places of the working arrays, in bytes from the workspace's start.
struct Workspace {
  size_t counts = 0;  ///< [experts] int32: rows that chose the expert
  size_t rows = 0;    ///< [experts, rows] int32: the first counts[e] of row e are those rows, ascending
  size_t hidden = 0;  ///< [rows, hidden] float32: activations, written only where an expert was chosen
  size_t bytes = 0;
};

inline Workspace workspace_of(const TypedMlpArgs<float>& a) {
  const auto aligned = [](size_t bytes) { return (bytes + 255) / 256 * 256; };
  Workspace w;
  w.rows = aligned(sizeof(int32_t) * static_cast<size_t>(a.experts));
  w.hidden = w.rows + aligned(sizeof(int32_t) * static_cast<size_t>(a.experts * a.rows));
  w.bytes = w.hidden + aligned(sizeof(float) * static_cast<size_t>(a.rows * a.hidden));
  return w;
}

D2DMOE_HOST_DEVICE inline int64_t tiles(int64_t count, int64_t tile) {
  return (count + tile - 1) / tile;
}
/// Place of (row n, expert e) in the mask.
D2DMOE_HOST_DEVICE inline int64_t mask_at(const TypedMlpArgs<float>& a, int64_t n, int64_t e) {
  return n * a.experts + e;
}
/// Place of entry i of expert e's list.
D2DMOE_HOST_DEVICE inline int64_t list_at(const TypedMlpArgs<float>& a, int64_t e, int64_t i) {
  return e * a.rows + i;
}
/// Neuron i of expert e: row of w1, wu and w2t, place in the biases.
D2DMOE_HOST_DEVICE inline int64_t neuron_of(const TypedMlpArgs<float>& a, int64_t e, int64_t i) {
  return e * (a.hidden / a.experts) + i;
}
D2DMOE_HOST_DEVICE inline int64_t input_at(const TypedMlpArgs<float>& a, int64_t n, int64_t k) {
  return n * a.x_stride + k;
}
D2DMOE_HOST_DEVICE inline int64_t w1_at(const TypedMlpArgs<float>& a, int64_t neuron, int64_t k) {
  return neuron * a.d_in + k;
}
D2DMOE_HOST_DEVICE inline int64_t w2t_at(const TypedMlpArgs<float>& a, int64_t neuron, int64_t c) {
  return neuron * a.d_out + c;
}
D2DMOE_HOST_DEVICE inline int64_t hidden_at(const TypedMlpArgs<float>& a, int64_t n, int64_t neuron) {
  return n * a.hidden + neuron;
}
D2DMOE_HOST_DEVICE inline int64_t output_at(const TypedMlpArgs<float>& a, int64_t n, int64_t c) {
  return n * a.d_out + c;
}

}  // namespace d2dmoe::kernels::cuda
