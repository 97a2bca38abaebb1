#define D2DMOE_WIDTH 16
namespace d2dmoe::kernels::cpu {
namespace {
constexpr int kWidth = D2DMOE_WIDTH;
// Rows per tile of the first product (times 4 neurons), rows and vectors per tile of the second: the sums and
// the operands of a step fill the 32 registers.
constexpr int kTile = 6, kAddTile = 6, kAddVectors = 4;
// Up to as many rows of an expert, reading w2t from end to end is as fast as in tiles (Zen 4), and faster
// from memory.
constexpr int kStreamRows = 2;
}  // namespace
}  // namespace d2dmoe::kernels::cpu
#include "d2dmoe/kernels/cpu/micro_impl.inc"

namespace d2dmoe::kernels::cpu {
const Micro kMicroAvx512 = {"avx512",     project,    activate,         count_nonzero,
                            list_nonzero, accumulate, accumulate_listed};
}  // namespace d2dmoe::kernels::cpu
