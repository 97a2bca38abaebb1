#include "d2dmoe/core/log.h"

#include <fstream>
#include <iterator>

#include "capture.h"
#include "d2dmoe/core/error.h"
#include "support/support.h"

using namespace d2dmoe;
using d2dmoe::test::contains;

namespace {

std::string content(const std::filesystem::path& file) {
  std::ifstream in(file);
  return {std::istreambuf_iterator<char>(in), {}};
}

}  // namespace

TEST_CASE("log: levels, without colours in a pipe") {
  const std::string text = test::stderr_of([] {
    log::debug("hidden");
    log::info("{} sites", 6);
    log::warn("braces {} stay", "{x}");
    log::set_level(log::Level::warn);
    log::info("silenced");
    log::set_level(log::Level::info);
  });
  CHECK(text == "info: 6 sites\nwarning: braces {x} stay\n");
}

TEST_CASE("log: the file gets every message from attaching to detaching, appended") {
  const test::TempDir dir;
  test::stderr_of([&] {
    for (const char* run : {"first", "second"}) {
      log::attach_file(dir / "log.txt");
      log::info("{} run", run);
      log::detach_file();
      log::info("outside");
    }
  });
  const std::string text = content(dir / "log.txt");
  CHECK(contains(text, "info: first run\n"));
  CHECK(contains(text, "info: second run\n"));
  CHECK_FALSE(contains(text, "outside"));
  CHECK_THROWS_AS(log::attach_file(dir.path()), Error);
}
