#undef _FORTIFY_SOURCE  // its longjmp takes a change of stacks for a mistake
#include "kernels/simt/simt.h"

#include <setjmp.h>
#include <ucontext.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <vector>

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/common_interface_defs.h>
#endif

namespace d2dmoe::simt {
namespace {

constexpr unsigned kWarp = 32;
constexpr size_t kStackBytes = 256 * 1024;
// A quiet NaN in float32, float16 and bfloat16; no index that a kernel would survive.
constexpr uint8_t kPoison = 0xff;

struct Copy {
  void* to;
  const void* from;
  int bytes;
};

// Threads that wait for each other: the count that lets them go on, and how often they have met.
struct Meeting {
  unsigned arrived = 0;
  uint64_t met = 0;
};

struct Warp {
  Meeting meeting;
  unsigned live = 0;
  alignas(16) uint8_t given[2][kWarp * kMostExchanged];  // in turn, so that the slow may still read the last
};

// A place to go on from. swapcontext enters a fiber; from then on jumps do, which need no system call.
struct Place {
  ucontext_t context;
  jmp_buf jump;
};

struct Fiber {
  Place place;
  bool entered = false;
  std::unique_ptr<uint8_t[]> stack;
  Position position;
  const Meeting* waits_for = nullptr;
  uint64_t since = 0;  // meetings that had happened when it began to wait
  bool ended = false;
  std::vector<Copy> open;                 // of the group that is not closed yet
  std::vector<std::vector<Copy>> groups;  // oldest first
  void* fake_stack = nullptr;             // AddressSanitizer's
};

struct Block {
  std::vector<std::unique_ptr<Fiber>> fibers;  // contexts do not survive a move
  std::vector<Warp> warps;
  Meeting meeting;
  unsigned live = 0;
  std::vector<uint8_t> shared;
  uint8_t* shared_start = nullptr;
  size_t shared_bytes = 0;
};

Order the_order = Order::ascending;
int the_most_shared_bytes = 163 * 1024;
Block block;
Fiber* running = nullptr;
const std::function<void()>* the_body = nullptr;
Place scheduler;
#if defined(__SANITIZE_ADDRESS__)
void* scheduler_fake_stack = nullptr;
const void* scheduler_stack = nullptr;
size_t scheduler_stack_bytes = 0;
#endif

void to_scheduler(Fiber& fiber) {
#if defined(__SANITIZE_ADDRESS__)
  __sanitizer_start_switch_fiber(&fiber.fake_stack, scheduler_stack, scheduler_stack_bytes);
#endif
  if (!_setjmp(fiber.place.jump)) _longjmp(scheduler.jump, 1);
#if defined(__SANITIZE_ADDRESS__)
  __sanitizer_finish_switch_fiber(fiber.fake_stack, &scheduler_stack, &scheduler_stack_bytes);
#endif
}

void to_fiber(Fiber& fiber) {
  running = &fiber;
#if defined(__SANITIZE_ADDRESS__)
  __sanitizer_start_switch_fiber(&scheduler_fake_stack, fiber.stack.get(), kStackBytes);
#endif
  if (!_setjmp(scheduler.jump)) {
    if (fiber.entered) _longjmp(fiber.place.jump, 1);
    fiber.entered = true;
    swapcontext(&scheduler.context, &fiber.place.context);
  }
#if defined(__SANITIZE_ADDRESS__)
  __sanitizer_finish_switch_fiber(scheduler_fake_stack, nullptr, nullptr);
#endif
  running = nullptr;
}

Warp& warp_of(const Fiber& fiber) {
  return block.warps[fiber.position.flat / kWarp];
}

void open_if_complete(Meeting& meeting, unsigned expected) {
  if (meeting.arrived == 0 || meeting.arrived < expected) return;
  meeting.arrived = 0;
  ++meeting.met;
}

void meet(Meeting& meeting, unsigned expected) {
  Fiber& self = *running;
  self.waits_for = &meeting;
  self.since = meeting.met;
  ++meeting.arrived;
  open_if_complete(meeting, expected);
  while (meeting.met == self.since) to_scheduler(self);
  self.waits_for = nullptr;
}

// A fiber serves one device thread after another: making one costs system calls.
void fiber_main() {
#if defined(__SANITIZE_ADDRESS__)
  __sanitizer_finish_switch_fiber(nullptr, &scheduler_stack, &scheduler_stack_bytes);
#endif
  for (;;) {
    Fiber& self = *running;
    (*the_body)();
    self.ended = true;
    // Those who wait do not wait for a thread that has ended.
    --block.live;
    Warp& warp = warp_of(self);
    --warp.live;
    open_if_complete(block.meeting, block.live);
    open_if_complete(warp.meeting, warp.live);
    to_scheduler(self);
  }
}

void make_fiber(Fiber& fiber) {
  fiber.stack.reset(new uint8_t[kStackBytes]);
  getcontext(&fiber.place.context);
  fiber.place.context.uc_stack.ss_sp = fiber.stack.get();
  fiber.place.context.uc_stack.ss_size = kStackBytes;
  fiber.place.context.uc_link = nullptr;
  makecontext(&fiber.place.context, fiber_main, 0);
}

void start_thread(Fiber& fiber) {
  if (!fiber.stack) make_fiber(fiber);
  fiber.ended = false;
  fiber.waits_for = nullptr;
  fiber.open.clear();
  fiber.groups.clear();
}

// Turns until all threads have ended.
void run_block(unsigned threads) {
  while (block.live > 0) {
    bool moved = false;
    for (unsigned i = 0; i < threads; ++i) {
      Fiber& fiber = *block.fibers[the_order == Order::ascending ? i : threads - 1 - i];
      if (fiber.ended || (fiber.waits_for && fiber.waits_for->met == fiber.since)) continue;
      moved = true;
      to_fiber(fiber);
    }
    if (!moved) fail("all threads of a block wait: a barrier or a warp's exchange that some never reach");
  }
}

}  // namespace

void fail(const char* what) {
  std::fprintf(stderr, "[simt] %s\n", what);
  std::abort();
}

void set_order(Order order) {
  the_order = order;
}

int most_shared_bytes() {
  return the_most_shared_bytes;
}
void set_most_shared_bytes(int bytes) {
  the_most_shared_bytes = bytes;
}

void run_grid(Dim3 grid, Dim3 block_size, size_t shared_bytes, const std::function<void()>& body) {
  const unsigned threads = block_size.count();
  if (threads == 0 || threads > 1024) fail("a block of no threads, or of more than 1024");
  if (grid.count() == 0 || grid.y > 65535 || grid.z > 65535) fail("a grid that no launch takes");
  if (shared_bytes > 163 * 1024) fail("more shared memory than a block has on sm_80");
  while (block.fibers.size() < threads) block.fibers.push_back(std::make_unique<Fiber>());
  the_body = &body;
  for (unsigned i = 0; i < grid.count(); ++i) {
    const unsigned index = the_order == Order::ascending ? i : grid.count() - 1 - i;
    const Dim3 place(index % grid.x, index / grid.x % grid.y, index / grid.x / grid.y);
    block.meeting = {};
    block.live = threads;
    block.warps.assign((threads + kWarp - 1) / kWarp, Warp());
    // At the end of its allocation, so that AddressSanitizer sees accesses beyond it.
    block.shared.assign((shared_bytes + 15) / 16 * 16, kPoison);
    block.shared.shrink_to_fit();
    block.shared_start = block.shared.data();
    block.shared_bytes = shared_bytes;
    for (unsigned t = 0; t < threads; ++t) {
      Fiber& fiber = *block.fibers[t];
      fiber.position = {
          Dim3(t % block_size.x, t / block_size.x % block_size.y, t / block_size.x / block_size.y), place,
          block_size, grid, t};
      ++block.warps[t / kWarp].live;
      start_thread(fiber);
    }
    run_block(threads);
  }
  the_body = nullptr;
}

const Position& here() {
  return running->position;
}
uint8_t* dynamic_shared() {
  return block.shared_start;
}
size_t dynamic_shared_bytes() {
  return block.shared_bytes;
}

void sync_block() {
  meet(block.meeting, block.live);
}

const uint8_t* exchange(const void* mine, size_t size) {
  if (size > kMostExchanged) fail("an exchange of too many bytes");
  const Fiber& self = *running;
  Warp& warp = warp_of(self);
  if (warp.live != kWarp) fail("an exchange in a warp that has lost lanes");
  uint8_t* given = warp.given[warp.meeting.met % 2];
  std::memcpy(given + self.position.flat % kWarp * kMostExchanged, mine, size);
  meet(warp.meeting, warp.live);
  return given;
}

void copy_start(void* to, const void* from, int bytes) {
  if (bytes < 0 || bytes > 16) fail("an asynchronous copy of less than 0 or more than 16 bytes");
  if (reinterpret_cast<uintptr_t>(to) % 16 || reinterpret_cast<uintptr_t>(from) % 16)
    fail("an asynchronous copy between addresses that are no multiples of 16");
  const auto* at = static_cast<uint8_t*>(to);
  if (at < block.shared_start || at + 16 > block.shared_start + block.shared_bytes)
    fail("an asynchronous copy to outside the shared memory");
  std::memset(to, kPoison, 16);  // whoever reads before the wait, or has not read yet, sees NaN
  running->open.push_back({to, from, bytes});
}

void copies_commit() {
  running->groups.push_back(std::move(running->open));
  running->open.clear();
}

void copies_wait(int pending) {
  auto& groups = running->groups;
  while (groups.size() > static_cast<size_t>(pending)) {
    for (const Copy& copy : groups.front()) {
      std::memset(copy.to, 0, 16);
      if (copy.bytes > 0) std::memcpy(copy.to, copy.from, static_cast<size_t>(copy.bytes));
    }
    groups.erase(groups.begin());
  }
}

}  // namespace d2dmoe::simt
