#define D2DMOE_WIDTH 4
namespace d2dmoe::kernels::cpu {
namespace {
constexpr int kTile = 4;     // rows of a panel product: kTile * 2 sums and the operands fit the registers
constexpr int kFewRows = 2;  // rows of a dot product: kFewRows * 4 sums
constexpr bool kWholeTiles = false;
}  // namespace
}  // namespace d2dmoe::kernels::cpu
#include "d2dmoe/kernels/cpu/expert_mlp_bf16_vectors.inc"
//
#include "d2dmoe/kernels/cpu/expert_mlp_bf16_activation.inc"
#include "d2dmoe/kernels/cpu/expert_mlp_bf16_panels.inc"
#include "d2dmoe/kernels/cpu/expert_mlp_bf16_rows.inc"

namespace d2dmoe::kernels::cpu {
const Bf16Micro kBf16Portable = {8,    nullptr,       nullptr,    pack_rows,  pack_columns, multiply,
                                 dots, finish_hidden, start_sums, add_listed, finish_sums};
}  // namespace d2dmoe::kernels::cpu
