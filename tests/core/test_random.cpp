#include "d2dmoe/core/random.h"

#include <algorithm>
#include <set>

#include "support/support.h"

using namespace d2dmoe;

TEST_CASE("random: SplitMix64's published sequence") {
  Rng rng(1234567);
  CHECK(rng.next() == 6457827717110365317u);
  CHECK(rng.next() == 3203168211198807973u);
  CHECK(rng.next() == 9817491932198370423u);
}

TEST_CASE("random: seeds of different uses differ and stay") {
  std::set<uint64_t> seeds;
  for (const uint64_t seed : {0u, 1u, 42u}) {
    for (const char* use : {"", "data order", "data orde", "split"}) {
      for (uint64_t index = 0; index < 4; ++index) seeds.insert(derive_seed(seed, use, index));
    }
  }
  CHECK(seeds.size() == 3 * 4 * 4);
  CHECK(derive_seed(42, "split", 3) == derive_seed(42, "split", 3));
}

TEST_CASE("random: below is in range and even") {
  Rng rng(1);
  std::vector<int> counts(7);
  for (int i = 0; i < 70'000; ++i) ++counts[rng.below(7)];
  for (const int count : counts) CHECK(std::abs(count - 10'000) < 500);
  CHECK(rng.below(1) == 0);
  for (int i = 0; i < 1000; ++i) {
    const double u = rng.uniform();
    CHECK((u >= 0 && u < 1));
  }
}

TEST_CASE("random: permutation") {
  CHECK(Rng(1).permutation(0).empty());
  CHECK(Rng(1).permutation(1) == std::vector<int64_t>{0});
  auto order = Rng(1).permutation(100);
  CHECK_FALSE(std::is_sorted(order.begin(), order.end()));
  CHECK(order == Rng(1).permutation(100));
  CHECK(order != Rng(2).permutation(100));
  std::sort(order.begin(), order.end());
  for (int64_t i = 0; i < 100; ++i) CHECK(order[i] == i);
}
