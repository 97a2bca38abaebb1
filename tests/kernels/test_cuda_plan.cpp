#include "d2dmoe/kernels/cuda/plan.h"

#include <algorithm>
#include <array>
#include <set>
#include <vector>

#include "support/support.h"

using namespace d2dmoe::kernels;

namespace {

ExpertMlpArgs sizes(int64_t rows, int64_t experts, int64_t size, int64_t d_out, Element element) {
  ExpertMlpArgs a;
  a.rows = rows, a.experts = experts, a.hidden = experts * size, a.d_in = 8, a.d_out = d_out;
  a.element = element;
  return a;
}

// Bank groups (16 bytes of the 128 that shared memory gives at once) that 8 chunks lie in.
template <class Place>
size_t groups_of(Place place) {
  std::set<int> groups;
  for (int i = 0; i < 8; ++i) groups.insert(place(i) % 8);
  return groups.size();
}

}  // namespace

TEST_CASE("cuda plan: a tile's chunks have places of their own, and a matrix load meets no bank twice") {
  std::set<int> lines, wide, halves, floats;
  for (int r = 0; r < 128; ++r) {
    for (int c = 0; c < 4; ++c) lines.insert(cuda::line_chunk<4>(r, c));
    for (int c = 0; c < 8; ++c) wide.insert(cuda::line_chunk<8>(r, c));
  }
  CHECK((lines.size() == 512 && *lines.begin() == 0 && *lines.rbegin() == 511));
  CHECK((wide.size() == 1024 && *wide.begin() == 0 && *wide.rbegin() == 1023));
  for (int r = 0; r < 32; ++r)
    for (int c = 0; c < 16; ++c) halves.insert(cuda::column_chunk<cuda::Bf16>(r, c));
  CHECK((halves.size() == 512 && *halves.begin() == 0 && *halves.rbegin() == 511));
  for (int r = 0; r < 16; ++r)
    for (int c = 0; c < 32; ++c) floats.insert(cuda::column_chunk<float>(r, c));
  CHECK((floats.size() == 512 && *floats.begin() == 0 && *floats.rbegin() == 511));
  for (int first = 0; first < 128; first += 8)
    for (int c = 0; c < 4; ++c) {
      CHECK(groups_of([&](int i) { return cuda::line_chunk<4>(first + i, c); }) == 8);
      CHECK(groups_of([&](int i) { return cuda::line_chunk<8>(first + i, c); }) == 8);
      CHECK(groups_of([&](int i) { return cuda::line_chunk<8>(first + i, c + 4); }) == 8);
    }
  for (int first = 0; first < 32; first += 8)
    for (int c = 0; c < 16; ++c)
      CHECK(groups_of([&](int i) { return cuda::column_chunk<cuda::Bf16>(first + i, c); }) == 8);
  for (int first = 0; first < 16; first += 4)  // two chunks of each of four lines
    for (int c = 0; c < 32; c += 2)
      CHECK(groups_of([&](int i) { return cuda::column_chunk<float>(first + i % 4, c + i / 4); }) == 8);
}

TEST_CASE("cuda plan: the working arrays hold their entries, apart from each other and aligned") {
  for (const Element element : {Element::float32, Element::bfloat16, Element::float16})
    for (const int64_t rows : {17, 255, 256, 1024, 5000})
      for (const int64_t experts : {1, 3, 64})
        for (const int64_t size : {0, 1, 24, 33}) {
          const cuda::Plan p = cuda::plan_of(sizes(rows, experts, size, 40, element));
          CHECK_FALSE(p.decode());
          CHECK((p.band_rows % 32 == 0 && p.band_rows <= 256));
          CHECK((p.bands * p.band_rows >= rows && (p.bands - 1) * p.band_rows < rows));
          const size_t bytes = element == Element::float32 ? 4 : 2, pairs = rows * experts;
          CHECK((p.stride >= size && p.stride * bytes % 16 == 0));
          CHECK(p.most_tiles >= experts * ((rows + cuda::kTilePairs - 1) / cuda::kTilePairs));
          CHECK(p.offsets >= p.before + 4 * (p.bands + 1) * experts);
          CHECK(p.rows >= p.offsets + 4 * (experts + 1));
          CHECK(p.tiles >= p.rows + 4 * pairs);
          CHECK(p.tile_count >= p.tiles + sizeof(cuda::Tile) * p.most_tiles);
          CHECK(p.hidden >= p.tile_count + 4);
          CHECK(p.bytes >= p.hidden + bytes * pairs * p.stride);
          const cuda::Plan narrow = cuda::with_bands(p, rows, cuda::kNarrowestBand);
          CHECK((narrow.bands * narrow.band_rows >= rows && (narrow.bands - 1) * narrow.band_rows < rows));
          CHECK(p.offsets >= p.before + 4 * (narrow.bands + 1) * experts);
          for (const size_t at : {p.before, p.offsets, p.rows, p.tiles, p.tile_count, p.hidden})
            CHECK(at % 256 == 0);
        }
}

TEST_CASE("cuda plan: decoding splits all experts, at most 64 small ones together") {
  for (const int64_t rows : {1, 16})
    for (const int64_t experts : {1, 3, 130, 4096})
      for (const int64_t size : {0, 1, 24, 127, 128, 500}) {
        const cuda::Plan p = cuda::plan_of(sizes(rows, experts, size, 40, Element::bfloat16));
        CHECK(p.decode());
        CHECK((p.experts_per_split >= 1 && p.experts_per_split <= 64));
        CHECK((p.parts == 1 || p.experts_per_split == 1));
        const int64_t together = p.splits / p.parts;
        CHECK(together * p.parts == p.splits);
        CHECK((together * p.experts_per_split >= experts && (together - 1) * p.experts_per_split < experts));
        CHECK(p.partial >= p.hidden + 4 * rows * experts * size);
        CHECK(p.bytes >= p.partial + 4 * p.splits * rows * 40);
      }
}

TEST_CASE("cuda plan: working arrays beyond 4 GiB are not wrapped") {
  const cuda::Plan p = cuda::plan_of(sizes(1 << 20, 64, 256, 2048, Element::float32));
  CHECK(p.bytes > size_t{4} << 32);
}

TEST_CASE("cuda plan: rows of a band take turns by their remainders, each with a place of its own") {
  for (const auto& all : std::vector<std::array<int32_t, 4>>{
           {3, 3, 3, 3}, {5, 0, 2, 1}, {0, 0, 0, 4}, {1, 2, 3, 4}, {64, 60, 3, 0}}) {
    const int32_t counts[4] = {all[0], all[1], all[2], all[3]};
    const int32_t total = all[0] + all[1] + all[2] + all[3];
    std::vector<int> remainder(static_cast<size_t>(total), -1);
    for (int m = 0; m < 4; ++m)
      for (int32_t n = 0; n < counts[m]; ++n) {
        const int32_t at = cuda::place_in_turns(counts, m, n);
        REQUIRE((at >= 0 && at < total));
        CHECK(remainder[static_cast<size_t>(at)] == -1);
        remainder[static_cast<size_t>(at)] = m;
      }
    // As long as every remainder has rows left, four neighbours are of four kinds.
    const int32_t fewest = *std::min_element(counts, counts + 4);
    for (int32_t i = 0; i < 4 * fewest; ++i) CHECK(remainder[static_cast<size_t>(i)] == i % 4);
  }
}
