#include "d2dmoe/core/signals.h"

#include <signal.h>
#include <unistd.h>

#include <array>
#include <atomic>

namespace d2dmoe {
namespace {

std::atomic<bool> stop{false};
static_assert(std::atomic<bool>::is_always_lock_free, "the handler may only touch lock-free atomics");

extern "C" void on_stop_signal(int number) {
  if (stop.exchange(true)) _exit(128 + number);  // the shell's code for a process that a signal ended
}

// The handler's own stack: code that the kernels' libraries make at run time may use the memory below its
// stack pointer, which a handler on the same stack would overwrite.
void use_signal_stack() {
  static std::array<char, 64 << 10> memory;
  stack_t current = {};
  if (sigaltstack(nullptr, &current) != 0 || !(current.ss_flags & SS_DISABLE)) return;
  stack_t own = {};
  own.ss_sp = memory.data(), own.ss_size = memory.size();
  sigaltstack(&own, nullptr);
}

}  // namespace

void install_stop_handler() {
  use_signal_stack();
  struct sigaction action = {};
  action.sa_handler = on_stop_signal;
  sigemptyset(&action.sa_mask);
  action.sa_flags = SA_RESTART | SA_ONSTACK;
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
