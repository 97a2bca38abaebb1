#pragma once

#include <array>
#include <cstdint>
#include <shared_mutex>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

namespace d2dmoe::tokenizer {

/// Ids of words seen before, in shards so that threads seldom wait for each other.
class WordCache {
 public:
  static constexpr size_t kLongestWord = 64;  ///< bytes

  /// Appends the word's ids to `ids`; false when the word is not known.
  bool find(std::string_view word, std::vector<int64_t>& ids) const;
  /// Keeps the ids [first, end of `ids`) of a word.
  void store(std::string_view word, const std::vector<int64_t>& ids, size_t first);

 private:
  // Together with kLongestWord they bound the memory: 64 Ki words.
  static constexpr size_t kShards = 16, kWordsPerShard = 4096;
  struct Hash {
    using is_transparent = void;
    size_t operator()(std::string_view text) const { return std::hash<std::string_view>{}(text); }
  };
  struct Shard {
    mutable std::shared_mutex mutex;
    std::unordered_map<std::string, std::vector<int64_t>, Hash, std::equal_to<>> words;
  };
  static size_t shard_of(std::string_view word) { return Hash{}(word) >> 7 & (kShards - 1); }

  std::array<Shard, kShards> shards_;
};

}  // namespace d2dmoe::tokenizer
