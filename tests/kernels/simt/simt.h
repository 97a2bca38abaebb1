#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>

/// Runs the threads of a CUDA grid on one CPU thread: every device thread is a fiber that runs until it waits
/// for others. Blocks run one after the other. Made to find mistakes, not to be fast: shared memory starts
/// out as NaN, threads run in either order, and a barrier that some threads never reach ends the program with
/// a message.
namespace d2dmoe::simt {

struct Dim3 {
  unsigned x = 1, y = 1, z = 1;
  Dim3(unsigned x_ = 1, unsigned y_ = 1, unsigned z_ = 1) : x(x_), y(y_), z(z_) {}
  unsigned count() const { return x * y * z; }
};

/// The order in which the threads of a block, and the blocks of a grid, get their turn. A missing barrier
/// shows as a difference between the two.
enum class Order { ascending, descending };
void set_order(Order order);

/// Shared memory that a block of the pretended device gets at most: at first 163 KiB, as on sm_80.
int most_shared_bytes();
void set_most_shared_bytes(int bytes);

/// Runs body() once per thread of the grid.
/// @param shared_bytes  dynamic shared memory of a block
void run_grid(Dim3 grid, Dim3 block, size_t shared_bytes, const std::function<void()>& body);

// What the running device thread may ask; meaningless outside run_grid.

struct Position {
  Dim3 thread, block, block_size, grid_size;
  unsigned flat;  ///< of the thread in its block
};
const Position& here();
uint8_t* dynamic_shared();
size_t dynamic_shared_bytes();

/// Barrier over the block's threads that have not ended.
void sync_block();
/// All 32 lanes of the warp give `size` bytes (at most kMostExchanged) and then see everybody's: lane l's
/// bytes are at result + l * kMostExchanged, valid until the warp's next exchange but one.
constexpr size_t kMostExchanged = 64;
const uint8_t* exchange(const void* mine, size_t size);

/// Copies that were started and not waited for, group by group, of the running thread.
void copy_start(void* to, const void* from, int bytes);
void copies_commit();
void copies_wait(int pending);

/// Ends the program: a mistake of the kernel that a GPU would answer with an error, or with nothing at all.
[[noreturn]] void fail(const char* what);

}  // namespace d2dmoe::simt
