#include "d2dmoe/kernels/cpu/route.h"

#include <ATen/Parallel.h>

#include <algorithm>
#include <atomic>
#include <string_view>
#include <vector>

#include "d2dmoe/kernels/cpu/micro.h"
#include "d2dmoe/kernels/cpu/route_micro.h"

namespace d2dmoe::kernels::cpu {
namespace routing {
namespace {

// Rows that a thread takes through all layers at once: the weights are read once for all of them, and their
// inputs and hidden values stay in the second-level cache.
constexpr int64_t kBlockRows = 32;
// A tile of the widest product; threads own whole tiles.
constexpr int64_t kTileRows = 8;
// Work worth another thread: waking one costs some microseconds, in which a core does as many sums or reads
// as much of the weights from its caches.
constexpr double kFlopsPerThread = 4e5;
constexpr double kBytesPerThread = 512 << 10;

const RouteMicro& route_micro() {
#ifdef D2DMOE_X86
  const std::string_view name = micro().name;
  if (name.starts_with("avx512")) return kRouteMicroAvx512;
  if (name == "avx2") return kRouteMicroAvx2;
#endif
  return kRouteMicroPortable;
}

int64_t panels_of(const RouteLayer& layer) {
  return (layer.outputs + kRoutePanel - 1) / kRoutePanel;
}

double flops_per_row(const RouteArgs& a) {
  double flops = 0;
  for (int64_t i = 0; i < a.depth; ++i)
    flops += 2.0 * static_cast<double>(a.layers[i].inputs * panels_of(a.layers[i]) * kRoutePanel);
  return flops;
}

// What a thread needs for a block of rows.
struct Scratch {
  std::vector<float> values, next;
  const float* x[kBlockRows];
};

Scratch& scratch() {
  thread_local Scratch instance;
  return instance;
}

void grow(std::vector<float>& values, int64_t size) {
  if (static_cast<int64_t>(values.size()) < size) values.resize(static_cast<size_t>(size));
}

// Points s.x at `count` rows of x.
void find_rows(const RouteArgs& a, int64_t first, int64_t count, Scratch& s) {
  for (int64_t r = 0; r < count; ++r) s.x[r] = static_cast<const float*>(a.x) + (first + r) * a.x_stride;
}

// Panels first … last of one layer for the rows at s.x, into z [count, width of all panels].
void run_layer(const RouteArgs& a, const RouteMicro& micro, int64_t index, const float* const* x,
               int64_t count, int64_t first, int64_t last, float* z) {
  const RouteLayer& layer = a.layers[index];
  const RouteEnd end = index + 1 == a.depth ? RouteEnd::magnitude : RouteEnd::relu;
  const int64_t width = panels_of(layer) * kRoutePanel, panel = (layer.inputs + 1) * kRoutePanel;
  // A pair of panels serves all rows of the block before the next pair is read.
  const int64_t step = count >= kTileRows ? 2 : last - first;
  for (int64_t p = first; p < last; p += step)
    micro.product(x, count, layer.inputs, static_cast<const float*>(layer.panels) + p * panel,
                  std::min(step, last - p), z + p * kRoutePanel, width, end);
}

// The layers after the first and the rule, for rows whose first layer stands in s.values.
RouteCount finish_rows(const RouteArgs& a, const RouteMicro& micro, int64_t first, int64_t count, Scratch& s,
                       MarkRow mark) {
  for (int64_t i = 1; i < a.depth; ++i) {
    const int64_t before = panels_of(a.layers[i - 1]) * kRoutePanel, panels = panels_of(a.layers[i]);
    grow(s.next, count * panels * kRoutePanel);
    for (int64_t r = 0; r < count; ++r) s.x[r] = s.values.data() + r * before;
    run_layer(a, micro, i, s.x, count, 0, panels, s.next.data());
    std::swap(s.values, s.next);
  }
  const int64_t width = panels_of(a.layers[a.depth - 1]) * kRoutePanel;
  RouteCount total{0, true};
  for (int64_t r = 0; r < count; ++r) {
    const int64_t pairs = finish_routed_row(a, first + r, s.values.data() + r * width, mark);
    total.usable &= pairs >= 0;
    total.pairs += pairs;
  }
  return total;
}

// All rows on this thread, the first layer's outputs shared out among threads: for a few rows.
RouteCount route_few(const RouteArgs& a, const RouteMicro& micro, MarkRow mark) {
  Scratch& s = scratch();
  const int64_t panels = panels_of(a.layers[0]), width = panels * kRoutePanel;
  find_rows(a, 0, a.rows, s);
  grow(s.values, a.rows * width);
  const auto panel_values = static_cast<double>(a.layers[0].inputs * kRoutePanel) + 1;
  const double enough = std::min(kBytesPerThread / (sizeof(float) * panel_values),
                                 kFlopsPerThread / (2 * panel_values * static_cast<double>(a.rows)));
  const auto grain = static_cast<int64_t>(enough) + 1;
  at::parallel_for(0, panels, grain, [&](int64_t begin, int64_t end) {
    run_layer(a, micro, 0, s.x, a.rows, begin, end, s.values.data());
  });
  return finish_rows(a, micro, 0, a.rows, s, mark);
}

RouteCount route_many(const RouteArgs& a, const RouteMicro& micro, MarkRow mark) {
  std::atomic<int64_t> pairs{0};
  std::atomic<bool> usable{true};
  const int64_t tiles = (a.rows + kTileRows - 1) / kTileRows;
  const double tile_flops = flops_per_row(a) * static_cast<double>(kTileRows);
  const auto grain = static_cast<int64_t>(kFlopsPerThread / (tile_flops + 1)) + 1;
  at::parallel_for(0, tiles, grain, [&](int64_t begin, int64_t end) {
    Scratch& s = scratch();
    const int64_t panels = panels_of(a.layers[0]), last = std::min(end * kTileRows, a.rows);
    for (int64_t n = begin * kTileRows; n < last; n += kBlockRows) {
      const int64_t count = std::min(kBlockRows, last - n);
      find_rows(a, n, count, s);
      grow(s.values, count * panels * kRoutePanel);
      run_layer(a, micro, 0, s.x, count, 0, panels, s.values.data());
      const RouteCount here = finish_rows(a, micro, n, count, s, mark);
      pairs += here.pairs;
      if (!here.usable) usable = false;
    }
  });
  return {pairs, usable};
}

}  // namespace
}  // namespace routing

RouteCount route_float32(const RouteArgs& a, MarkRow mark) {
  const RouteMicro& micro = routing::route_micro();
  return a.rows <= routing::kTileRows ? routing::route_few(a, micro, mark)
                                      : routing::route_many(a, micro, mark);
}

}  // namespace d2dmoe::kernels::cpu
