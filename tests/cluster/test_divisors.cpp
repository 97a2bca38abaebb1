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

TEST_CASE("divisors: the one nearest by ratio, at most half") {
  CHECK(nearest_divisor(1536, 24) == 24);
  CHECK(nearest_divisor(4096, 24) == 32);
  CHECK(nearest_divisor(172, 24) == 43);  // 4 is six times less, 43 not twice as much
  CHECK(nearest_divisor(12, 3) == 3);
  CHECK(nearest_divisor(8, 24) == 4);
  CHECK(nearest_divisor(97, 24) == 1);
  CHECK(nearest_divisor(1, 24) == 1);
  CHECK(nearest_divisor(36, 6) == 6);
  CHECK(nearest_divisor(50, 7) == 5);  // 7 / 5 = 1.4, 10 / 7 = 1.43
}

TEST_CASE("divisors: a number that does not divide is a usage error with place, key and remedy") {
  CHECK_NOTHROW(check_divides("p", "k", 24, 1536));
  CHECK_THROWS_AS(check_divides("p", "k", 25, 1536), UsageError);
  const std::string message = test::message_of([] { check_divides("convert", "split.experts", 60, 1536); });
  CHECK(message ==
        "[convert] 'split.experts': got 60, which does not divide 1536 neurons. Hint: divisors near it are "
        "24, 32, 48, 64, 96, 128");
}
