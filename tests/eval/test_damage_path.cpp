#include "d2dmoe/eval/damage_path.h"

#include "support/support.h"

using namespace d2dmoe;
using namespace d2dmoe::test;

namespace {

eval::Candidate candidate(double tau, double cost, double damage, double floor = 0) {
  return {{"dynamic_k", tau, floor}, cost, damage};
}

}  // namespace

TEST_CASE("damage path: the hull drops what lies above it") {
  const auto hull = eval::convex_hull(
      {candidate(0, 0.4, 0), candidate(0.2, 0.3, 0.5), candidate(0.3, 0.2, 0.1), candidate(0.9, 0.1, 2)});
  REQUIRE(hull.size() == 3);
  CHECK(hull[0].cost == 0.4);
  CHECK(hull[1].cost == 0.2);
  CHECK(hull[2].cost == 0.1);
  // Cheaper and no worse: what is dearer is of no use.
  const auto better =
      eval::convex_hull({candidate(0, 0.4, 0), candidate(0.1, 0.3, 0.2), candidate(0.5, 0.2, 0)});
  REQUIRE(better.size() == 1);
  CHECK(better[0].cost == 0.2);
  CHECK(eval::convex_hull({candidate(0, 0.4, 0)}).size() == 1);
}

TEST_CASE("damage path: the least damage per cost goes first, values are interpolated") {
  const eval::DamagePath path({"a", "b"},
                              {{candidate(0, 0.4, 0), candidate(0.4, 0.2, 1)},   // slope 5
                               {candidate(0, 0.4, 0), candidate(0.2, 0.3, 0.1),  // slope 1
                                candidate(0.6, 0.2, 2, 1)}},                     // slope 19, another floor
                              false);
  REQUIRE(path.end() == 3);
  CHECK(path.cost(0) == Approx(0.8));
  CHECK(path.cost(path.end()) == Approx(0.4));
  CHECK(path.at(0).at("b").value == 0);
  CHECK(path.at(0.5).at("b").value == Approx(0.1));
  CHECK(path.at(0.5).at("a").value == 0);
  CHECK(path.at(1.5).at("a").value == Approx(0.2));
  CHECK(path.at(2.5).at("b").value == Approx(0.4));
  CHECK(path.at(2.5).at("b").floor == Approx(0.5));
  CHECK(path.at(3).at("b").value == Approx(0.6));
  CHECK(path.at(3).at("b").floor == 1);
  for (const double position : {0.0, 0.3, 1.0, 1.7, 2.9}) {
    CHECK(path.position_of(path.cost(position)) == Approx(position).margin(1e-9));
  }
  CHECK(path.position_of(5) == 0);
  CHECK(path.position_of(0) == path.end());
}

TEST_CASE("damage path: whole numbers stay whole") {
  const eval::DamagePath path({"a"}, {{{{"top_k", 8, 0}, 0.4, 0}, {{"top_k", 2, 0}, 0.1, 1}}}, true);
  CHECK(path.at(0.5).at("a").value == 5);
  CHECK(path.at(0.55).at("a").value == 5);
}
