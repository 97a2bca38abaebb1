#include "d2dmoe/core/error.h"

#include "support/support.h"

using namespace d2dmoe;

TEST_CASE("error: checks throw their kind with a formatted sentence") {
  CHECK_NOTHROW([] { D2D_CHECK(true, "never {}", 1); }());
  CHECK(test::message_of([] { D2D_CHECK(1 > 2, "[x] '{}': got {}, must be {}", "a", 1, 2.5); }) ==
        "[x] 'a': got 1, must be 2.5");
  CHECK_THROWS_AS([] { D2D_CHECK(false, "no"); }(), Error);
  CHECK_THROWS_AS([] { D2D_CHECK_USAGE(false, "no"); }(), UsageError);
}

TEST_CASE("error: nearest_word finds slips of the pen only") {
  const std::vector<std::string> known = {"lr", "momentum", "weight_decay", "schedule"};
  CHECK(nearest_word("lrr", known) == "lr");
  CHECK(nearest_word("wieght_decay", known) == "weight_decay");
  CHECK(nearest_word("momemtun", known) == "momentum");
  CHECK(nearest_word("adma", {"adamw", "adam"}) == "adam");  // neighbours swapped: one slip
  CHECK(nearest_word("quantisation", {"activation"}) == "");
  CHECK(nearest_word("x", {}) == "");
}
