#define D2DMOE_WIDTH 8
namespace d2dmoe::kernels::cpu {
namespace {
constexpr int kWidth = D2DMOE_WIDTH;
constexpr int kTile = 3;  // rows per tile: kTile * 4 sums and the operands fit the registers
// Row by row is faster where at most this share of a tile's activations is not zero (measured, S 24 and 128).
constexpr int kSkipNumerator = 1, kSkipDenominator = 2;
}  // namespace
}  // namespace d2dmoe::kernels::cpu
#include "d2dmoe/kernels/cpu/micro_impl.h"

namespace d2dmoe::kernels::cpu {
const Micro kMicroAvx2 = {"avx2", project, accumulate, activate};
}  // namespace d2dmoe::kernels::cpu
