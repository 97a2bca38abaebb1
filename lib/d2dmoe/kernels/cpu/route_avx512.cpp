#include <cstdint>

namespace d2dmoe::kernels::cpu {
namespace {
constexpr int kWidth = 16;
// Tiles of the router's product, rows by panels of 16 outputs: the sums of a tile, 8 to 16 vectors, fit the
// 32 registers and hide the latency of the additions.
constexpr int kTallRows = 8, kTallPanels = 2, kFourPanels = 4, kTwoPanels = 8, kOnePanels = 8;
}  // namespace
}  // namespace d2dmoe::kernels::cpu
#include "d2dmoe/kernels/cpu/route_impl.inc"

namespace d2dmoe::kernels::cpu {
const RouteMicro kRouteMicroAvx512 = {"avx512", product};
}  // namespace d2dmoe::kernels::cpu
