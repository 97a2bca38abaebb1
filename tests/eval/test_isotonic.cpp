#include "d2dmoe/eval/isotonic.h"

#include <cmath>
#include <vector>

#include "d2dmoe/core/random.h"
#include "support/support.h"

using namespace d2dmoe;

TEST_CASE("isotonic: what is out of order becomes its mean, what is in order stays") {
  const std::vector<double> mixed{1, 3, 2, 4, 3.5, 3, 5}, fit{1, 2.5, 2.5, 3.5, 3.5, 3.5, 5};
  CHECK(eval::isotonic_fit(mixed) == fit);
  CHECK(eval::isotonic_fit({1, 2, 2, 7}) == std::vector<double>{1, 2, 2, 7});
  CHECK(eval::isotonic_fit({3, 2, 1}) == std::vector<double>{2, 2, 2});
  CHECK(eval::isotonic_fit({}).empty());
}

TEST_CASE("isotonic: never falls, and no other value that never falls is nearer") {
  Rng rng(1);
  for (int round = 0; round < 50; ++round) {
    std::vector<double> values;
    for (int i = 0; i < 12; ++i) values.push_back(rng.uniform() * 4 - 2 + 0.1 * i);
    const auto fit = eval::isotonic_fit(values);
    REQUIRE(fit.size() == values.size());
    // The conditions of the optimum: no partial sum of the residuals is positive, and it is 0 wherever the
    // fit rises and at the end.
    double sum = 0;
    for (size_t i = 0; i < values.size(); ++i) {
      sum += fit[i] - values[i];
      CHECK(sum <= 1e-9);
      const bool rises = i + 1 == values.size() || fit[i + 1] > fit[i] + 1e-12;
      if (rises) CHECK(std::abs(sum) < 1e-9);
      if (i > 0) CHECK(fit[i] >= fit[i - 1]);
    }
  }
}
