// Three kernels: list the rows of every expert, project them tile by tile into the hidden layer, and add up
// the chosen experts of every row in order. No atomics: the same bytes at every run. Plain loops in float32;
// not tuned.
#include "d2dmoe/kernels/cuda/expert_mlp.h"

#include <cuda_runtime.h>

#include "d2dmoe/kernels/cuda/indexing.h"

namespace d2dmoe::kernels::cuda {
namespace {

using FloatArgs = TypedMlpArgs<float>;

constexpr unsigned kWarp = 32;

// One warp per expert goes down its column of the mask; lanes find their place by counting the votes below
// them.
__global__ void list_rows(FloatArgs a, int32_t* counts, int32_t* rows) {
  const int64_t e = blockIdx.x;
  const unsigned lane = threadIdx.x;
  int32_t found = 0;
  for (int64_t base = 0; base < a.rows; base += kWarp) {
    const int64_t n = base + lane;
    const bool chosen = n < a.rows && a.mask[mask_at(a, n, e)] != 0;
    const unsigned votes = __ballot_sync(0xffffffffu, chosen);
    if (chosen) rows[list_at(a, e, found + __popc(votes & ((1u << lane) - 1u)))] = static_cast<int32_t>(n);
    found += __popc(votes);
  }
  if (lane == 0) counts[e] = found;
}

__device__ float activate(float z, Activation activation) {
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

// Thread (x, y) of a block makes neuron x of row y of one tile; w1 and x pass through shared memory. The
// weight tile's rows are one float apart from a multiple of the banks, so that 16 neurons read 16 banks.
__device__ float project_tile(const FloatArgs& a, const float* weights, const float* bias, int64_t e,
                              const int32_t* list, int64_t first_row, int64_t count, int64_t first_neuron) {
  __shared__ float xs[kTileRows][kTileInputs];
  __shared__ float ws[kTileNeurons][kTileInputs + 1];
  const int64_t size = a.hidden / a.experts;
  const int thread = static_cast<int>(threadIdx.y) * kTileNeurons + static_cast<int>(threadIdx.x);
  float sum = 0;
  for (int64_t first_k = 0; first_k < a.d_in; first_k += kTileInputs) {
    for (int t = thread; t < kTileRows * kTileInputs; t += kTileRows * kTileNeurons) {
      const int r = t / kTileInputs;
      const int64_t k = first_k + t % kTileInputs;
      const bool inside = first_row + r < count && k < a.d_in;
      xs[r][t % kTileInputs] = inside ? a.x[input_at(a, list[list_at(a, e, first_row + r)], k)] : 0.0f;
    }
    for (int t = thread; t < kTileNeurons * kTileInputs; t += kTileRows * kTileNeurons) {
      const int i = t / kTileInputs;
      const int64_t k = first_k + t % kTileInputs;
      const bool inside = first_neuron + i < size && k < a.d_in;
      ws[i][t % kTileInputs] = inside ? weights[w1_at(a, neuron_of(a, e, first_neuron + i), k)] : 0.0f;
    }
    __syncthreads();
    for (int k = 0; k < kTileInputs; ++k) sum += xs[threadIdx.y][k] * ws[threadIdx.x][k];
    __syncthreads();
  }
  const int64_t i = first_neuron + threadIdx.x;
  return bias && i < size ? sum + bias[neuron_of(a, e, i)] : sum;
}

// Grid: (tiles of rows, experts, tiles of neurons). Blocks beyond an expert's list have nothing to do.
__global__ void project(FloatArgs a, const int32_t* counts, const int32_t* rows, float* hidden) {
  const int64_t e = blockIdx.y, size = a.hidden / a.experts, count = counts[e];
  const int64_t first_row = static_cast<int64_t>(blockIdx.x) * kTileRows;
  const int64_t first_neuron = static_cast<int64_t>(blockIdx.z) * kTileNeurons;
  if (first_row >= count) return;  // the whole block: no thread is left behind at a barrier
  float h = activate(project_tile(a, a.w1, a.b1, e, rows, first_row, count, first_neuron), a.activation);
  if (a.wu) h *= project_tile(a, a.wu, a.bu, e, rows, first_row, count, first_neuron);
  const int64_t r = first_row + threadIdx.y, i = first_neuron + threadIdx.x;
  if (r < count && i < size) hidden[hidden_at(a, rows[list_at(a, e, r)], neuron_of(a, e, i))] = h;
}

// Grid: (rows, tiles of columns). One thread sums one output element over the row's experts in order; all
// threads of a block agree on what is skipped.
__global__ void combine(FloatArgs a, const float* hidden) {
  const int64_t n = blockIdx.x, size = a.hidden / a.experts;
  const int64_t c = static_cast<int64_t>(blockIdx.y) * kColumns + threadIdx.x;
  if (c >= a.d_out) return;
  float sum = a.b2 ? a.b2[c] : 0.0f;
  for (int64_t e = 0; e < a.experts; ++e) {
    if (a.mask[mask_at(a, n, e)] == 0) continue;
    for (int64_t i = 0; i < size; ++i) {
      const int64_t neuron = neuron_of(a, e, i);
      const float h = hidden[hidden_at(a, n, neuron)];
      if (h != 0) sum += h * a.w2t[w2t_at(a, neuron, c)];
    }
  }
  a.y[output_at(a, n, c)] = sum;
}

const char* last_error() {
  const cudaError_t error = cudaGetLastError();
  return error == cudaSuccess ? nullptr : cudaGetErrorString(error);
}

}  // namespace

bool available() {
  return true;
}

size_t workspace_bytes(const ExpertMlpArgs& args) {
  return workspace_of(FloatArgs(args)).bytes;
}

const char* expert_mlp(const ExpertMlpArgs& args, void* workspace, void* stream_handle) {
  const FloatArgs a(args);
  constexpr int64_t kMostBlocks = 65535;  // of a grid's second and third dimension
  const int64_t size = a.hidden / a.experts;
  if (a.rows == 0 || a.d_out == 0) return nullptr;
  if (a.experts > kMostBlocks || tiles(size, kTileNeurons) > kMostBlocks ||
      tiles(a.d_out, kColumns) > kMostBlocks)
    return "more experts, neurons or columns than a grid takes";
  const auto stream = static_cast<cudaStream_t>(stream_handle);
  const Workspace at = workspace_of(a);
  char* base = static_cast<char*>(workspace);
  auto* counts = reinterpret_cast<int32_t*>(base + at.counts);
  auto* rows = reinterpret_cast<int32_t*>(base + at.rows);
  auto* hidden = reinterpret_cast<float*>(base + at.hidden);

  list_rows<<<static_cast<unsigned>(a.experts), kWarp, 0, stream>>>(a, counts, rows);
  if (const char* error = last_error()) return error;
  if (size > 0) {
    const dim3 grid(static_cast<unsigned>(tiles(a.rows, kTileRows)), static_cast<unsigned>(a.experts),
                    static_cast<unsigned>(tiles(size, kTileNeurons)));
    project<<<grid, dim3(kTileNeurons, kTileRows), 0, stream>>>(a, counts, rows, hidden);
    if (const char* error = last_error()) return error;
  }
  const dim3 grid(static_cast<unsigned>(a.rows), static_cast<unsigned>(tiles(a.d_out, kColumns)));
  combine<<<grid, kColumns, 0, stream>>>(a, hidden);
  return last_error();
}

}  // namespace d2dmoe::kernels::cuda
