#include "d2dmoe/report/axis.h"

#include <cmath>
#include <limits>

#include "support/support.h"

using namespace d2dmoe::report;

namespace {

std::vector<std::string> labels(const Axis& axis) {
  std::vector<std::string> out;
  for (const Tick& tick : axis.ticks()) out.push_back(tick.label);
  return out;
}

}  // namespace

TEST_CASE("axis: nice ticks inside the range, told apart by their labels") {
  CHECK(labels(Axis::linear(0, 1, Unit::percent, 5, 0)) ==
        std::vector<std::string>{"0", "20", "40", "60", "80", "100"});
  CHECK(labels(Axis::linear(0.9, 0.925, Unit::percent, 5, 0)) ==
        std::vector<std::string>{"90.0", "90.5", "91.0", "91.5", "92.0", "92.5"});
  CHECK(labels(Axis::linear(0, 2000, Unit::plain, 4, 0)) ==
        std::vector<std::string>{"0", "500", "1000", "1500", "2000"});
}

TEST_CASE("axis: any two numbers give a usable axis") {
  const double inf = std::numeric_limits<double>::infinity(), nan = std::numeric_limits<double>::quiet_NaN();
  for (const auto& [low, high] : std::vector<std::pair<double, double>>{{1, 1},
                                                                        {0, 0},
                                                                        {inf, -inf},
                                                                        {nan, nan},
                                                                        {nan, 1},
                                                                        {5, 1},
                                                                        {-1e300, 1e300},
                                                                        {1e15, 1e15 + 1},
                                                                        {0, 1e-12}}) {
    for (const Axis& axis :
         {Axis::linear(low, high, Unit::percent, 5, 0), Axis::logarithmic(low, high, Unit::plain)}) {
      INFO(low << " " << high);
      CHECK(axis.high() > axis.low());
      CHECK(axis.ticks().size() < 102);
      CHECK(std::isfinite(axis.share((low + high) / 2)) == std::isfinite((low + high) / 2));
    }
  }
}

TEST_CASE("axis: a logarithmic axis has equal distances for equal ratios") {
  const Axis axis = Axis::logarithmic(0.01, 1, Unit::percent);
  CHECK(axis.is_log());
  CHECK(axis.share(0.01) == d2dmoe::test::Approx(0).margin(1e-12));
  CHECK(axis.share(0.1) == d2dmoe::test::Approx(0.5));
  CHECK(axis.share(1) == d2dmoe::test::Approx(1));
  CHECK(labels(axis) == std::vector<std::string>{"1", "2", "5", "10", "20", "50", "100"});
}

TEST_CASE("axis: noise is not blown up") {
  const Axis axis = Axis::linear(0.9215, 0.9216, Unit::percent, 5, 0.02);
  CHECK(axis.high() - axis.low() == d2dmoe::test::Approx(0.02));
}
