#include "d2dmoe/core/signals.h"

#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include "support/support.h"

using namespace d2dmoe;

TEST_CASE("signals: the first asks, the second ends the process") {
  CHECK_FALSE(stop_requested());
  for (const int number : {SIGINT, SIGTERM}) {
    const pid_t child = ::fork();
    if (child == 0) {
      install_stop_handler();
      ::raise(number);
      if (!stop_requested()) ::_exit(1);
      ::raise(number);
      ::_exit(2);
    }
    int status = 0;
    REQUIRE(::waitpid(child, &status, 0) == child);
    CHECK(WIFEXITED(status));
    CHECK(WEXITSTATUS(status) == 128 + number);
  }
}

TEST_CASE("signals: a request can be made and withdrawn") {
  request_stop();
  CHECK(stop_requested());
  request_stop(false);
  CHECK_FALSE(stop_requested());
}
