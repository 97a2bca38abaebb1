#include "d2dmoe/core/format.h"

#include <filesystem>
#include <limits>
#include <vector>

#include "d2dmoe/core/error.h"
#include "support/support.h"

using namespace d2dmoe;

TEST_CASE("format: every kind of argument") {
  CHECK(format("plain") == "plain");
  CHECK(format("{} {} {} {}", true, int8_t{-3}, uint64_t{1} << 63, 'a' == 'a') ==
        "true -3 9223372036854775808 true");
  CHECK(format("{:.2f} {:5}|{:<4}|", 3.14159, 7, "ab") == "3.14     7|ab  |");
  CHECK(format("{}", std::filesystem::path("/a/b c")) == "/a/b c");
  CHECK(format("{} {}", std::vector<int64_t>{}, std::vector<int64_t>{1, 2}) == "[] [1, 2]");
  CHECK(format("{}", torch::zeros({2, 3}).sizes()) == "[2, 3]");
  CHECK(format("{:.{}f}", 2.0, 3) == "2.000");
}

TEST_CASE("format: a wrong format string is an error, not a crash") {
  CHECK_THROWS_AS(format("{} {}", 1), Error);
  CHECK_THROWS_AS(format("{:d}", "text"), Error);
  CHECK_THROWS_AS(format("{", 1), Error);
}
