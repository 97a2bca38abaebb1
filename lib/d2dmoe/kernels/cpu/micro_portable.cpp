#define D2DMOE_WIDTH 4
namespace d2dmoe::kernels::cpu {
namespace {
constexpr int kWidth = D2DMOE_WIDTH;
constexpr int kTile = 2;  // rows per tile: kTile * 4 sums and the operands fit the registers
// Row by row, without the zeros, is faster than in tiles where at most this share of the activations is not
// zero (measured at D 384, S 24 and D 768, S 128, on Zen 5: always).
constexpr int kSkipNumerator = 1, kSkipDenominator = 1;
}  // namespace
}  // namespace d2dmoe::kernels::cpu
#include "d2dmoe/kernels/cpu/micro_impl.inc"

namespace d2dmoe::kernels::cpu {
const Micro kMicroPortable = {"portable", project, accumulate, activate};
}  // namespace d2dmoe::kernels::cpu
