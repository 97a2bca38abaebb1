#include "d2dmoe/core/progress.h"

#include <chrono>
#include <limits>
#include <thread>

#include "capture.h"
#include "d2dmoe/core/log.h"
#include "d2dmoe/core/terminal.h"
#include "support/support.h"

using namespace d2dmoe;
using d2dmoe::test::contains;

TEST_CASE("progress: short work shows nothing") {
  CHECK(test::stderr_of([] {
          Progress progress("quick", 10, "steps");
          for (int i = 0; i < 10; ++i) progress.advance(1, "note");
        }) == "");
}

TEST_CASE("progress: longer work ends with one plain line in a pipe") {
  const std::string text = test::stderr_of([] {
    Progress progress("train epoch 1/3", 4, "sentences");
    std::this_thread::sleep_for(std::chrono::milliseconds(1050));
    progress.advance(4, "loss 0.31");
    progress.finish();
    progress.finish();
  });
  CHECK(contains(text, "train epoch 1/3: 100% 4/4 sentences, "));
  CHECK(contains(text, "took 0:01, loss 0.31\n"));
  CHECK(text.find('\n') == text.size() - 1);
  CHECK_FALSE(contains(text, "\x1b"));
}

TEST_CASE("progress: is silent where only warnings are wanted") {
  const std::string text = test::stderr_of([] {
    log::set_level(log::Level::warn);
    Progress progress("quiet", 4, "steps");
    std::this_thread::sleep_for(std::chrono::milliseconds(1050));
    progress.advance(4);
    progress.finish();
    log::set_level(log::Level::info);
  });
  CHECK(text.empty());
}

TEST_CASE("progress: durations, counts and bytes for people") {
  CHECK(duration_text(0) == "0:00");
  CHECK(duration_text(65.4) == "1:05");
  CHECK(duration_text(12 * 3600 + 3) == "12:00:03");
  CHECK(duration_text(-1) == "?");
  CHECK(duration_text(std::numeric_limits<double>::quiet_NaN()) == "?");
  CHECK(count_text(0) == "0");
  CHECK(count_text(999) == "999");
  CHECK(count_text(0.5) == "0.50");
  CHECK(count_text(22'713'216) == "22.7 M");
  CHECK(count_text(1.3e9) == "1.30 G");
  CHECK(count_text(999'999) == "1.00 M");
  CHECK(bytes_text(12) == "12 B");
  CHECK(bytes_text(86.7 * 1024 * 1024) == "86.7 MiB");
}

TEST_CASE("terminal: a file is none") {
  test::stderr_of([] {
    CHECK_FALSE(stderr_is_terminal());
    CHECK_FALSE(stderr_has_color());
    CHECK(terminal_width() == 80);
  });
}
