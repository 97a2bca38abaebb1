#include "d2dmoe/cluster/divisors.h"

#include "d2dmoe/core/error.h"
#include "support/support.h"

using namespace d2dmoe;
using namespace d2dmoe::cluster;

TEST_CASE("divisors: the nearest below and above") {
  CHECK(divisors_near(1536, 60) == "24, 32, 48, 64, 96, 128");
  CHECK(divisors_near(1536, 5) == "2, 3, 4, 6, 8, 12");
  CHECK(divisors_near(1536, 2000) == "512, 768, 1536");
  CHECK(divisors_near(1536, 0) == "1, 2, 3");
  CHECK(divisors_near(7, 3) == "1, 7");
  CHECK(divisors_near(1, 1) == "1");
}

TEST_CASE("divisors: a number that does not divide is a usage error with place, key and remedy") {
  CHECK_NOTHROW(check_divides("p", "k", 24, 1536));
  CHECK_THROWS_AS(check_divides("p", "k", 25, 1536), UsageError);
  const std::string message = test::message_of([] { check_divides("convert", "split.experts", 60, 1536); });
  CHECK(message ==
        "[convert] 'split.experts': got 60, which does not divide 1536 neurons. Hint: divisors near it are "
        "24, 32, 48, 64, 96, 128");
}
