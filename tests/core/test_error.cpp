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
  CHECK(nearest_word("foo", {"hot"}) == "");  // two of three letters
  CHECK(nearest_word("x", {}) == "");
}

TEST_CASE("error: hints name the nearest word, or say what else helps, and are never empty questions") {
  const std::vector<std::string> known = {"adamw", "adam", "sgd"};
  CHECK(nearest_hint("adma", known) == ". Hint: did you mean 'adam'?");
  CHECK(nearest_hint("adma", known, "docs/config.md lists them") == ". Hint: did you mean 'adam'?");
  CHECK(nearest_hint("lion_of_eight_bits", known) == "");
  CHECK(nearest_hint("lion_of_eight_bits", known, "docs/config.md lists them") ==
        ". Hint: docs/config.md lists them");
  CHECK(nearest_hint("adam", {}) == "");
  CHECK(choice_hint("adma", known) == ". Hint: did you mean 'adam'? There are adamw, adam, sgd");
  CHECK(choice_hint("lion_of_eight_bits", known) == ". Hint: there are adamw, adam, sgd");
}
