#include <ATen/Parallel.h>

#include <algorithm>
#include <atomic>
#include <cmath>

#include "d2dmoe/kernels/cpu/bf16_operands.h"
#include "d2dmoe/kernels/cpu/route.h"

namespace d2dmoe::kernels::cpu {
namespace bf16::routing {
namespace {

// Rows that a thread takes through all layers at once: whole tiles of every instruction set (12, 32 and 4
// rows), whose inputs stay in the second-level cache.
constexpr int64_t kBlockRows = 96;
// Threads own whole tiles of this many rows.
constexpr int64_t kTileRows = 12;
// Work worth another thread, as in route_float32.cpp; a core with AVX512_BF16 does twice as many of these
// operations in the same time.
constexpr double kFlopsPerThread = 8e5;
constexpr double kBytesPerThread = 512 << 10;

int64_t panels_of(const RouteLayer& layer) {
  return (layer.outputs + kPanelLanes - 1) / kPanelLanes;
}

int64_t panel_size(const RouteLayer& layer) {  // pairs
  return round_up(layer.inputs, kDepthMultiple) / 2 * kPanelLanes;
}

// Rows of a layer's input, as Bf16Micro::multiply reads them.
struct Operand {
  const uint16_t* rows;
  int64_t stride;
};

// The rows where they lie, if their length and distance allow it and something may be read after them; else a
// copy.
Operand first_operand(const RouteArgs& a, int64_t first, int64_t count, Buffer<uint16_t>& copy) {
  const int64_t inputs = a.layers[0].inputs, stride = operand_stride(inputs);
  const uint16_t* x = static_cast<const uint16_t*>(a.x) + first * a.x_stride;
  const bool whole = inputs % kDepthMultiple == 0 && !rows_meet_in_cache(a.x_stride);
  if (whole && first + count + kSpareRows <= a.rows) return {x, a.x_stride};
  uint16_t* rows = copy.of((count + kSpareRows) * stride);
  for (int64_t r = 0; r < count; ++r) copy_operand_row(x + r * a.x_stride, inputs, rows + r * stride);
  return {rows, stride};
}

// Panels first … last - 1 of a layer: z[(panel * count + row) * 32 + lane].
void multiply_panels(const RouteLayer& layer, const Bf16Micro& micro, const Operand& x, int64_t count,
                     int64_t first, int64_t last, float* z) {
  const Entered entered(micro);
  for (int64_t p = first; p < last; ++p) {
    float* sums = z + p * count * kPanelLanes;
    std::fill_n(sums, count * kPanelLanes, 0.0f);
    float* rows[kBlockRows];
    for (int64_t r = 0; r < count; ++r) rows[r] = sums + r * kPanelLanes;
    micro.multiply(x.rows, x.stride, count, layer.inputs,
                   static_cast<const uint32_t*>(layer.panels) + p * panel_size(layer), kPanelLanes, rows);
  }
}

// max(z, 0), rounded: the next layer's input.
Operand hidden_operand(const RouteLayer& layer, const Bf16Micro& micro, const float* z, int64_t count,
                       Buffer<uint16_t>& hidden) {
  static_assert(kPanelLanes == kDepthMultiple);  // whole panels of outputs fit a row
  const int64_t stride = operand_stride(layer.outputs), width = panels_of(layer) * kPanelLanes;
  uint16_t* h = hidden.of((count + kSpareRows) * stride);
  for (int64_t p = 0; p < panels_of(layer); ++p)
    micro.finish_hidden(z + p * count * kPanelLanes, nullptr, count, Activation::relu, h + p * kPanelLanes,
                        stride);
  // Lanes without an output: an infinity of x has made NaN of their zeros.
  for (int64_t r = 0; r < count; ++r)
    std::fill(h + r * stride + layer.outputs, h + r * stride + width, uint16_t{0});
  return {h, stride};
}

// The layers after the first and the rule, for rows whose first layer's sums stand in z.
RouteCount finish_rows(const RouteArgs& a, const Bf16Micro& micro, int64_t first, int64_t count, float* z,
                       MarkRow mark) {
  thread_local Buffer<uint16_t> hidden;
  thread_local Buffer<float> sums, row;
  for (int64_t i = 1; i < a.depth; ++i) {
    const Operand h = hidden_operand(a.layers[i - 1], micro, z, count, hidden);
    z = sums.of(count * panels_of(a.layers[i]) * kPanelLanes);
    multiply_panels(a.layers[i], micro, h, count, 0, panels_of(a.layers[i]), z);
  }
  const int64_t panels = panels_of(a.layers[a.depth - 1]);
  float* scores = row.of(panels * kPanelLanes);
  RouteCount total{0, true};
  for (int64_t r = 0; r < count; ++r) {
    for (int64_t p = 0; p < panels; ++p) {
      const float* from = z + (p * count + r) * kPanelLanes;
      for (int64_t i = 0; i < kPanelLanes; ++i) scores[p * kPanelLanes + i] = std::abs(from[i]);
    }
    const int64_t pairs = finish_routed_row(a, first + r, scores, mark);
    total.usable &= pairs >= 0;
    total.pairs += pairs;
  }
  return total;
}

// All rows on this thread, the first layer's panels shared out among threads: for a few rows.
RouteCount route_few(const RouteArgs& a, const Bf16Micro& micro, MarkRow mark) {
  thread_local Buffer<uint16_t> copy;
  thread_local Buffer<float> sums;
  const RouteLayer& layer = a.layers[0];
  const Operand x = first_operand(a, 0, a.rows, copy);
  float* z = sums.of(a.rows * panels_of(layer) * kPanelLanes);
  const auto pairs = static_cast<double>(panel_size(layer));
  const double enough =
      std::min(kBytesPerThread / (4 * pairs), kFlopsPerThread / (4 * pairs * static_cast<double>(a.rows)));
  at::parallel_for(0, panels_of(layer), static_cast<int64_t>(enough) + 1, [&](int64_t begin, int64_t end) {
    multiply_panels(layer, micro, x, a.rows, begin, end, z);
  });
  return finish_rows(a, micro, 0, a.rows, z, mark);
}

RouteCount route_many(const RouteArgs& a, const Bf16Micro& micro, MarkRow mark) {
  std::atomic<int64_t> pairs{0};
  std::atomic<bool> usable{true};
  double tile_flops = 0;
  for (int64_t i = 0; i < a.depth; ++i)
    tile_flops += 4.0 * static_cast<double>(kTileRows * panels_of(a.layers[i]) * panel_size(a.layers[i]));
  const int64_t tiles = (a.rows + kTileRows - 1) / kTileRows;
  const auto grain = static_cast<int64_t>(kFlopsPerThread / tile_flops) + 1;
  at::parallel_for(0, tiles, grain, [&](int64_t begin, int64_t end) {
    thread_local Buffer<uint16_t> copy;
    thread_local Buffer<float> sums;
    const int64_t panels = panels_of(a.layers[0]), last = std::min(end * kTileRows, a.rows);
    for (int64_t n = begin * kTileRows; n < last; n += kBlockRows) {
      const int64_t count = std::min(kBlockRows, last - n);
      float* z = sums.of(count * panels * kPanelLanes);
      multiply_panels(a.layers[0], micro, first_operand(a, n, count, copy), count, 0, panels, z);
      const RouteCount here = finish_rows(a, micro, n, count, z, mark);
      pairs += here.pairs;
      if (!here.usable) usable = false;
    }
  });
  return {pairs, usable};
}

}  // namespace
}  // namespace bf16::routing

RouteCount route_bf16(const RouteArgs& a, MarkRow mark, const Bf16Micro& micro) {
  return a.rows <= bf16::routing::kTileRows ? bf16::routing::route_few(a, micro, mark)
                                            : bf16::routing::route_many(a, micro, mark);
}

}  // namespace d2dmoe::kernels::cpu
