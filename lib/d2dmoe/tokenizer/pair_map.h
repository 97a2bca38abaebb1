#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace d2dmoe::tokenizer {

/// Hash map from two 32-bit numbers to a small value, in one block of memory: merges and tries are read far
/// more often than anything else here.
template <class Value>
class PairMap {
 public:
  static uint64_t key(uint64_t left, uint64_t right) { return left << 32 | right; }

  void insert_or_assign(uint64_t key, Value value) {
    if ((size_ + 1) * 2 > slots_.size()) grow();
    Slot& slot = slots_[place(key)];
    size_ += slot.key == kEmpty;
    slot = {key, value};
  }
  /// nullptr when it is not there.
  const Value* find(uint64_t key) const {
    if (slots_.empty()) return nullptr;
    const Slot& slot = slots_[place(key)];
    return slot.key == kEmpty ? nullptr : &slot.value;
  }

 private:
  static constexpr uint64_t kEmpty = ~uint64_t{0};
  struct Slot {
    uint64_t key = kEmpty;
    Value value{};
  };

  // The slot that holds the key, or the free one where it belongs.
  size_t place(uint64_t key) const {
    const size_t mask = slots_.size() - 1;
    size_t at = static_cast<size_t>((key * 0x9E3779B97F4A7C15ULL) >> 32) & mask;
    while (slots_[at].key != kEmpty && slots_[at].key != key) at = (at + 1) & mask;
    return at;
  }
  void grow() {
    std::vector<Slot> old(slots_.empty() ? 16 : slots_.size() * 2);
    old.swap(slots_);
    for (const Slot& slot : old) {
      if (slot.key != kEmpty) slots_[place(slot.key)] = slot;
    }
  }

  std::vector<Slot> slots_;  // a power of two, at most half full
  size_t size_ = 0;
};

}  // namespace d2dmoe::tokenizer
