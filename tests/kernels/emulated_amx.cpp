// The text of the AMX kernel with the six intrinsics that it uses in plain C++, for processors without tiles.
#include <cstdint>
#include <cstring>
#include <stdexcept>

namespace {

// Intel, Architecture Instruction Set Extensions Programming Reference: the operations of LDTILECFG,
// STTILECFG, TILELOADD, TILESTORED, TILEZERO and TDPBF16PS for palette 1. What raises #GP or #UD there
// throws.
struct Tiles {
  unsigned char config[64] = {};
  unsigned char data[8][16][64] = {};

  int rows(int tile) const { return config[48 + tile]; }
  int bytes(int tile) const { return config[16 + 2 * tile] | config[17 + 2 * tile] << 8; }
  void check(int tile) const {
    if (config[0] != 1 || rows(tile) == 0 || bytes(tile) == 0) throw std::runtime_error("#UD: no such tile");
  }
};
thread_local Tiles tiles;

void load_config(const void* from) {
  unsigned char config[64];
  std::memcpy(config, from, 64);
  if (config[0] > 1) throw std::runtime_error("#GP: unknown palette");
  for (int i = 2; i < 64; ++i)
    if ((i < 16 || (i >= 32 && i < 48) || i >= 56) && config[i] != 0)
      throw std::runtime_error("#GP: reserved byte");
  tiles = Tiles();
  if (config[0] == 0) return;
  std::memcpy(tiles.config, config, 64);
  for (int t = 0; t < 8; ++t)
    if (tiles.rows(t) > 16 || tiles.bytes(t) > 64) throw std::runtime_error("#GP: tile too large");
}

void store_config(void* to) {
  std::memcpy(to, tiles.config, 64);
}

void zero(int t) {
  tiles.check(t);
  std::memset(tiles.data[t], 0, sizeof tiles.data[t]);
}

void load_tile(int t, const void* base, int64_t stride) {
  zero(t);
  for (int r = 0; r < tiles.rows(t); ++r)
    std::memcpy(tiles.data[t][r], static_cast<const char*>(base) + r * stride, tiles.bytes(t));
}

void store_tile(int t, void* base, int64_t stride) {
  tiles.check(t);
  for (int r = 0; r < tiles.rows(t); ++r)
    std::memcpy(static_cast<char*>(base) + r * stride, tiles.data[t][r], tiles.bytes(t));
}

template <class T>
T at(int t, int row, int column) {
  T value;
  std::memcpy(&value, tiles.data[t][row] + sizeof(T) * column, sizeof(T));
  return value;
}

float bfloat16_at(int t, int row, int column) {
  const uint32_t bits = uint32_t{at<uint16_t>(t, row, column)} << 16;
  float value;
  std::memcpy(&value, &bits, sizeof value);
  return value;
}

// c[m][n] += a[m][2k] b[k][2n] + a[m][2k + 1] b[k][2n + 1]
void multiply_pairs(int c, int a, int b) {
  for (const int t : {a, b, c}) tiles.check(t);
  if (c == a || c == b || a == b) throw std::runtime_error("#UD: one tile twice");
  const int depth = tiles.bytes(a) / 4, columns = tiles.bytes(c) / 4;
  if (depth != tiles.rows(b) || tiles.rows(a) != tiles.rows(c) || columns != tiles.bytes(b) / 4)
    throw std::runtime_error("#UD: tiles that do not fit");
  for (int m = 0; m < tiles.rows(c); ++m)
    for (int k = 0; k < depth; ++k)
      for (int n = 0; n < columns; ++n) {
        const float sum = at<float>(c, m, n) + bfloat16_at(a, m, 2 * k) * bfloat16_at(b, k, 2 * n) +
                          bfloat16_at(a, m, 2 * k + 1) * bfloat16_at(b, k, 2 * n + 1);
        std::memcpy(tiles.data[c][m] + 4 * n, &sum, 4);
      }
}

}  // namespace

#define _tile_loadconfig load_config
#define _tile_storeconfig store_config
#define _tile_zero zero
#define _tile_loadd load_tile
#define _tile_stored store_tile
#define _tile_dpbf16ps multiply_pairs

#define D2DMOE_WIDTH 4
namespace d2dmoe::kernels::cpu {
namespace {
constexpr int kTile = 4, kFewRows = 2;
constexpr bool kWholeTiles = true;
}  // namespace
}  // namespace d2dmoe::kernels::cpu
#include "d2dmoe/kernels/cpu/expert_mlp_bf16_vectors.inc"
//
#include "d2dmoe/kernels/cpu/expert_mlp_bf16_activation.inc"
#include "d2dmoe/kernels/cpu/expert_mlp_bf16_panels.inc"
#include "d2dmoe/kernels/cpu/expert_mlp_bf16_rows.inc"
#include "d2dmoe/kernels/cpu/expert_mlp_bf16_tiles.inc"
#include "kernels/emulated_amx.h"

namespace d2dmoe::test {

const kernels::cpu::Bf16Micro kEmulatedAmx = {4,
                                              kernels::cpu::enter_tiles,
                                              kernels::cpu::leave_tiles,
                                              kernels::cpu::pack_rows,
                                              kernels::cpu::pack_columns,
                                              kernels::cpu::multiply_by_tiles,
                                              kernels::cpu::dots,
                                              kernels::cpu::finish_hidden,
                                              kernels::cpu::start_sums,
                                              kernels::cpu::add_listed,
                                              kernels::cpu::finish_sums};

void set_emulated_tiles(const unsigned char* config) {
  load_config(config);
}
void get_emulated_tiles(unsigned char* config) {
  store_config(config);
}

}  // namespace d2dmoe::test
