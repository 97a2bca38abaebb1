#include "d2dmoe/core/signals.h"

#include <signal.h>
#include <unistd.h>

#include <atomic>

namespace d2dmoe {
namespace {

std::atomic<bool> stop{false};
static_assert(std::atomic<bool>::is_always_lock_free, "the handler may only touch lock-free atomics");

extern "C" void on_stop_signal(int number) {
  if (stop.exchange(true)) _exit(128 + number);  // the shell's code for a process that a signal ended
}

}  // namespace

void install_stop_handler() {
  struct sigaction action = {};
  action.sa_handler = on_stop_signal;
  sigemptyset(&action.sa_mask);
  action.sa_flags = SA_RESTART;
  sigaction(SIGINT, &action, nullptr);
  sigaction(SIGTERM, &action, nullptr);
}

bool stop_requested() {
  return stop.load(std::memory_order_relaxed);
}

void request_stop(bool value) {
  stop = value;
}

}  // namespace d2dmoe
