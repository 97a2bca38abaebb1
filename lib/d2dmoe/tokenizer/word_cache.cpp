#include "d2dmoe/tokenizer/word_cache.h"

#include <mutex>

namespace d2dmoe::tokenizer {

bool WordCache::find(std::string_view word, std::vector<int64_t>& ids) const {
  if (word.size() > kLongestWord) return false;
  const Shard& shard = shards_[shard_of(word)];
  const std::shared_lock lock(shard.mutex);
  const auto found = shard.words.find(word);
  if (found == shard.words.end()) return false;
  ids.insert(ids.end(), found->second.begin(), found->second.end());
  return true;
}

void WordCache::store(std::string_view word, const std::vector<int64_t>& ids, size_t first) {
  if (word.size() > kLongestWord) return;
  Shard& shard = shards_[shard_of(word)];
  const std::unique_lock lock(shard.mutex);
  if (shard.words.size() < kWordsPerShard)
    shard.words.emplace(word,
                        std::vector<int64_t>(ids.begin() + static_cast<std::ptrdiff_t>(first), ids.end()));
}

}  // namespace d2dmoe::tokenizer
