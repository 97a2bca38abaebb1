#include <cstdint>

namespace d2dmoe::kernels::cpu {
namespace {
constexpr int kWidth = 8;
// Tiles of the router's product, rows by panels of 16 outputs: the sums of a tile, 8 vectors, fit the 16
// registers and hide the latency of the additions.
constexpr int kTallRows = 4, kTallPanels = 1, kFourPanels = 1, kTwoPanels = 2, kOnePanels = 4;
}  // namespace
}  // namespace d2dmoe::kernels::cpu
#include "d2dmoe/kernels/cpu/route_impl.inc"

namespace d2dmoe::kernels::cpu {
const RouteMicro kRouteMicroAvx2 = {"avx2", product};
}  // namespace d2dmoe::kernels::cpu
