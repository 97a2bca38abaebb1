#define D2DMOE_DOT_BF16
#define D2DMOE_WIDTH 16
namespace d2dmoe::kernels::cpu {
namespace {
constexpr int kTile = 12;    // rows of a panel product: kTile * 2 sums and the operands fit the registers
constexpr int kFewRows = 6;  // rows of a dot product: kFewRows * 4 sums
constexpr bool kWholeTiles = true;
}  // namespace
}  // namespace d2dmoe::kernels::cpu
#include "d2dmoe/kernels/cpu/expert_mlp_bf16_vectors.inc"
//
#include "d2dmoe/kernels/cpu/expert_mlp_bf16_activation.inc"
#include "d2dmoe/kernels/cpu/expert_mlp_bf16_panels.inc"
#include "d2dmoe/kernels/cpu/expert_mlp_bf16_rows.inc"
#include "d2dmoe/kernels/cpu/expert_mlp_bf16_tiles.inc"

namespace d2dmoe::kernels::cpu {
const Bf16Micro kBf16Amx = {16,   enter_tiles,   leave_tiles, pack_rows,  pack_columns, multiply_by_tiles,
                            dots, finish_hidden, start_sums,  add_listed, finish_sums};
}  // namespace d2dmoe::kernels::cpu
