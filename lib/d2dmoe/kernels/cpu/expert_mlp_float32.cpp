#include "d2dmoe/kernels/cpu/expert_mlp_float32.h"

#include <ATen/Parallel.h>

#include <algorithm>
#include <cstring>
#include <numeric>
#include <vector>

#include "d2dmoe/kernels/cpu/micro.h"
#include "d2dmoe/kernels/row_lists.h"

namespace d2dmoe::kernels::cpu {
namespace {

using FloatArgs = TypedMlpArgs<float>;

// Rows that one pass over the experts takes: many, because each pass reads the weights once, but few enough
// that x and y of the block (1.5 KiB each per row at D 384) stay near the core.
constexpr int64_t kBlockRows = 1024;
// Rows of one expert that are projected before they are added up: their activations stay in the first-level
// cache.
constexpr int64_t kChunkRows = 12;

// Work that is worth another thread: waking one costs several microseconds, in which a core does about as
// much.
constexpr double kFlopsPerThread = 5e5;

int64_t useful_threads(const FloatArgs& a) {
  const int64_t pairs = std::accumulate(a.mask, a.mask + a.rows * a.experts, int64_t{0});
  const double flops =
      2.0 * static_cast<double>(pairs * a.expert_size() * (a.d_in * (a.wu ? 2 : 1) + a.d_out));
  return std::min<int64_t>(at::get_num_threads(), 1 + static_cast<int64_t>(flops / kFlopsPerThread));
}

void start_rows(const FloatArgs& a, int64_t first, int64_t last) {
  for (int64_t n = first; n < last; ++n) {
    float* y = a.y + n * a.d_out;
    if (a.b2)
      std::memcpy(y, a.b2, sizeof(float) * static_cast<size_t>(a.d_out));
    else
      std::fill_n(y, a.d_out, 0.0f);
  }
}

// All experts for rows first … last, by one thread.
void run_block(const FloatArgs& a, const Micro& micro, int64_t first, int64_t last) {
  thread_local RowLists lists;
  thread_local std::vector<float> activations;
  thread_local std::vector<int32_t> scratch;
  const int64_t size = a.expert_size();
  activations.resize(static_cast<size_t>(2 * kChunkRows * size));
  scratch.resize(static_cast<size_t>(size));
  float* h = activations.data();
  float* up = a.wu ? h + kChunkRows * size : nullptr;

  start_rows(a, first, last);
  build_row_lists(a.mask + first * a.experts, last - first, a.experts, lists);
  for (int64_t e = 0; e < a.experts; ++e) {
    const int64_t neuron = e * size;
    for (int64_t i = lists.offsets[e]; i < lists.offsets[e + 1]; i += kChunkRows) {
      const int64_t count = std::min<int64_t>(kChunkRows, lists.offsets[e + 1] - i);
      const float* x[kChunkRows];
      float* y[kChunkRows];
      for (int64_t r = 0; r < count; ++r) {
        const int64_t n = first + lists.rows[i + r];
        x[r] = a.x + n * a.x_stride;
        y[r] = a.y + n * a.d_out;
      }
      micro.project(x, count, a.d_in, a.w1 + neuron * a.d_in, a.b1 ? a.b1 + neuron : nullptr, size, h);
      if (up)
        micro.project(x, count, a.d_in, a.wu + neuron * a.d_in, a.bu ? a.bu + neuron : nullptr, size, up);
      micro.activate(h, up, count * size, a.activation);
      micro.accumulate(y, count, a.d_out, h, a.w2t + neuron * a.d_out, size, scratch.data());
    }
  }
}

}  // namespace

void expert_mlp_float32(const ExpertMlpArgs& args) {
  const FloatArgs a(args);
  if (a.rows == 0) return;
  const Micro& micro = cpu::micro();
  const std::vector<int64_t> runs = balanced_runs(a.mask, a.rows, a.experts, useful_threads(a));
  at::parallel_for(0, static_cast<int64_t>(runs.size()) - 1, 1, [&](int64_t begin, int64_t end) {
    for (int64_t run = begin; run < end; ++run) {
      const int64_t rows = runs[run + 1] - runs[run];
      const int64_t blocks = (rows + kBlockRows - 1) / kBlockRows;
      for (int64_t b = 0; b < blocks; ++b)
        run_block(a, micro, runs[run] + rows * b / blocks, runs[run] + rows * (b + 1) / blocks);
    }
  });
}

}  // namespace d2dmoe::kernels::cpu
