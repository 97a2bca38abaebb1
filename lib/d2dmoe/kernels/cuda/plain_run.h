#pragma once

#include <cstddef>

#include "d2dmoe/kernels/cuda/activate.h"
#include "d2dmoe/kernels/expert_mlp_args.h"

/// The routed layer in three plain kernels that anyone can read, for tests on a device and as the mark that
/// the tuned ones have to beat: list the rows of every expert, project them tile by tile into the hidden
/// layer, add up the chosen experts of every row in order. No tensor cores, no atomics; sums and activations
/// in float32.
namespace d2dmoe::kernels::cuda {

constexpr int kPlainRows = 16, kPlainNeurons = 16, kPlainInputs = 32;  // of a tile; 16 * 16 threads
constexpr int kPlainColumns = 128;  // of the output that one block of plain_combine makes

/// Places of the plain kernels' working arrays, in bytes from the workspace's start.
struct PlainPlan {
  size_t counts = 0;  ///< [experts] int32: rows that chose the expert
  size_t rows = 0;    ///< [experts, rows] int32: the first counts[e] of row e are those rows, ascending
  size_t hidden = 0;  ///< [rows, hidden] float32: activations, written only where an expert was chosen
  size_t bytes = 0;
};

inline PlainPlan plain_plan_of(const ExpertMlpArgs& a) {
  const auto aligned = [](int64_t bytes) { return (static_cast<size_t>(bytes) + 255) / 256 * 256; };
  PlainPlan p;
  p.rows = aligned(4 * a.experts);
  p.hidden = p.rows + aligned(4 * a.experts * a.rows);
  p.bytes = p.hidden + aligned(4 * a.rows * a.hidden);
  return p;
}

}  // namespace d2dmoe::kernels::cuda

namespace d2dmoe::kernels::cuda::D2DMOE_SIMT {

// One warp per expert goes down its column of the mask; lanes find their place by counting the votes below
// them.
static __global__ void plain_list_rows(const uint8_t* mask, int64_t row_count, int64_t experts,
                                       int32_t* counts, int32_t* rows) {
  const int64_t e = blockIdx.x;
  const unsigned lane = threadIdx.x;
  int32_t found = 0;
  for (int64_t base = 0; base < row_count; base += 32) {
    const int64_t n = base + lane;
    const bool chosen = n < row_count && mask[n * experts + e] != 0;
    const uint32_t votes = __ballot_sync(0xffffffffu, chosen);
    if (chosen) rows[e * row_count + found + __popc(votes & ((1u << lane) - 1u))] = static_cast<int32_t>(n);
    found += __popc(votes);
  }
  if (lane == 0) counts[e] = found;
}

// Thread (x, y) of a block makes neuron x of row y of one tile; weights and x pass through shared memory. The
// weight tile's rows are one float apart from a multiple of the banks, so that 16 neurons read 16 banks.
template <class T>
D2DMOE_DEVICE float plain_project_tile(const TypedMlpArgs<T>& a, const T* weights, const T* bias, int64_t e,
                                       const int32_t* list, int64_t rows_left, int64_t first_neuron) {
  __shared__ float xs[kPlainRows][kPlainInputs];
  __shared__ float ws[kPlainNeurons][kPlainInputs + 1];
  const int64_t size = a.hidden / a.experts;
  const int thread = static_cast<int>(threadIdx.y) * kPlainNeurons + static_cast<int>(threadIdx.x);
  float sum = 0;
  for (int64_t first_k = 0; first_k < a.d_in; first_k += kPlainInputs) {
    for (int t = thread; t < kPlainRows * kPlainInputs; t += kPlainRows * kPlainNeurons) {
      const int r = t / kPlainInputs;
      const int64_t k = first_k + t % kPlainInputs;
      const bool inside = r < rows_left && k < a.d_in;
      xs[r][t % kPlainInputs] = inside ? to_float(a.x[list[r] * a.x_stride + k]) : 0.0f;
    }
    for (int t = thread; t < kPlainNeurons * kPlainInputs; t += kPlainRows * kPlainNeurons) {
      const int i = t / kPlainInputs;
      const int64_t k = first_k + t % kPlainInputs;
      const bool inside = first_neuron + i < size && k < a.d_in;
      ws[i][t % kPlainInputs] = inside ? to_float(weights[(e * size + first_neuron + i) * a.d_in + k]) : 0.0f;
    }
    __syncthreads();
    for (int k = 0; k < kPlainInputs; ++k) sum += xs[threadIdx.y][k] * ws[threadIdx.x][k];
    __syncthreads();
  }
  const int64_t i = first_neuron + threadIdx.x;
  return bias && i < size ? sum + to_float(bias[e * size + i]) : sum;
}

// Grid: (tiles of rows, experts, tiles of neurons). Blocks beyond an expert's list have nothing to do.
template <class T>
__global__ void plain_project(TypedMlpArgs<T> a, const int32_t* counts, const int32_t* rows, float* hidden) {
  const int64_t e = blockIdx.y, size = a.hidden / a.experts;
  const int64_t first_row = static_cast<int64_t>(blockIdx.x) * kPlainRows, left = counts[e] - first_row;
  const int64_t first_neuron = static_cast<int64_t>(blockIdx.z) * kPlainNeurons;
  if (left <= 0) return;  // the whole block: no thread is left behind at a barrier
  const int32_t* list = rows + e * a.rows + first_row;
  float h = activate(plain_project_tile(a, a.w1, a.b1, e, list, left, first_neuron), a.activation);
  if (a.wu) h *= plain_project_tile(a, a.wu, a.bu, e, list, left, first_neuron);
  const int64_t i = first_neuron + threadIdx.x;
  if (threadIdx.y < left && i < size) hidden[list[threadIdx.y] * a.hidden + e * size + i] = h;
}

// Grid: (rows, tiles of columns). One thread sums one output element over the row's experts in order.
template <class T>
__global__ void plain_combine(TypedMlpArgs<T> a, const float* hidden) {
  const int64_t n = blockIdx.x, size = a.hidden / a.experts;
  const int64_t c = static_cast<int64_t>(blockIdx.y) * kPlainColumns + threadIdx.x;
  if (c >= a.d_out) return;
  float sum = a.b2 ? to_float(a.b2[c]) : 0.0f;
  for (int64_t e = 0; e < a.experts; ++e) {
    if (a.mask[n * a.experts + e] == 0) continue;
    for (int64_t i = e * size; i < (e + 1) * size; ++i)
      sum += hidden[n * a.hidden + i] * to_float(a.w2t[i * a.d_out + c]);
  }
  store(&a.y[n * a.d_out + c], sum);
}

/// @param args  its element is T
template <class T>
const char* run_plain(const ExpertMlpArgs& args, void* workspace, void* stream) {
  const TypedMlpArgs<T> a(args);
  constexpr int64_t kMostBlocks = 65535;  // along a grid's second and third dimension
  const auto tiles = [](int64_t count, int64_t tile) { return (count + tile - 1) / tile; };
  const int64_t size = a.hidden / a.experts;
  if (a.rows == 0 || a.d_out == 0) return nullptr;
  if (a.experts > kMostBlocks || tiles(size, kPlainNeurons) > kMostBlocks ||
      tiles(a.d_out, kPlainColumns) > kMostBlocks)
    return "more experts, neurons or columns than a grid takes";
  const PlainPlan at = plain_plan_of(args);
  char* base = static_cast<char*>(workspace);
  auto* counts = reinterpret_cast<int32_t*>(base + at.counts);
  auto* rows = reinterpret_cast<int32_t*>(base + at.rows);
  auto* hidden = reinterpret_cast<float*>(base + at.hidden);

  const auto across = [](int64_t blocks) { return static_cast<unsigned>(blocks); };
  if (const char* error = launch(plain_list_rows, dim3(across(a.experts)), dim3(32), 0, stream, a.mask,
                                 a.rows, a.experts, counts, rows))
    return error;
  if (size > 0) {
    const dim3 grid(across(tiles(a.rows, kPlainRows)), across(a.experts), across(tiles(size, kPlainNeurons)));
    if (const char* error =
            launch(plain_project<T>, grid, dim3(kPlainNeurons, kPlainRows), 0, stream, a,
                   static_cast<const int32_t*>(counts), static_cast<const int32_t*>(rows), hidden))
      return error;
  }
  return launch(plain_combine<T>, dim3(across(a.rows), across(tiles(a.d_out, kPlainColumns))),
                dim3(kPlainColumns), 0, stream, a, static_cast<const float*>(hidden));
}

}  // namespace d2dmoe::kernels::cuda::D2DMOE_SIMT
