#include <cstdint>

namespace d2dmoe::kernels::cpu {
namespace {
constexpr int kWidth = 4;
// Tiles of the router's product, rows by panels of 16 outputs: the sums of a tile, 8 vectors, fit 16
// registers.
constexpr int kTallRows = 2, kTallPanels = 1, kFourPanels = 1, kTwoPanels = 1, kOnePanels = 2;
}  // namespace
}  // namespace d2dmoe::kernels::cpu
#include "d2dmoe/kernels/cpu/route_impl.inc"

namespace d2dmoe::kernels::cpu {
const RouteMicro kRouteMicroPortable = {"portable", product};
}  // namespace d2dmoe::kernels::cpu
