#include "d2dmoe/tokenizer/bpe.h"

#include <array>
#include <mutex>
#include <queue>
#include <shared_mutex>

#include "d2dmoe/core/error.h"
#include "d2dmoe/io/json_file.h"
#include "d2dmoe/tokenizer/unicode.h"

namespace d2dmoe::tokenizer {
namespace {

uint64_t pair_key(int64_t left, int64_t right) {
  return static_cast<uint64_t>(left) << 32 | static_cast<uint64_t>(right);
}

}  // namespace

/// Ids of words seen before, in shards so that threads seldom wait for each other.
class Bpe::Cache {
 public:
  bool find(std::string_view word, std::vector<int64_t>& ids) {
    if (word.size() > kLongestWord) return false;
    Shard& shard = shard_of(word);
    const std::shared_lock lock(shard.mutex);
    const auto found = shard.words.find(word);
    if (found == shard.words.end()) return false;
    ids.insert(ids.end(), found->second.begin(), found->second.end());
    return true;
  }

  void store(std::string_view word, std::vector<int64_t> ids) {
    if (word.size() > kLongestWord) return;
    Shard& shard = shard_of(word);
    const std::unique_lock lock(shard.mutex);
    if (shard.words.size() < kWordsPerShard) shard.words.emplace(word, std::move(ids));
  }

 private:
  // Together they bound the memory: 64 Ki words.
  static constexpr size_t kLongestWord = 64, kShards = 16, kWordsPerShard = 4096;
  struct Hash {
    using is_transparent = void;
    size_t operator()(std::string_view text) const { return std::hash<std::string_view>{}(text); }
  };
  struct Shard {
    std::shared_mutex mutex;
    std::unordered_map<std::string, std::vector<int64_t>, Hash, std::equal_to<>> words;
  };
  Shard& shard_of(std::string_view word) { return shards_[Hash{}(word) >> 7 & (kShards - 1)]; }

  std::array<Shard, kShards> shards_;
};

/// A piece of the word, in a list linked by position.
struct Bpe::Symbol {
  int64_t id;
  int64_t previous, next;  // -1 at the ends
  bool gone = false;       // merged into its left neighbour
};

Bpe::Bpe(Vocabulary vocabulary, const Merges& merges, Options options)
    : vocabulary_(std::move(vocabulary)), options_(std::move(options)), cache_(std::make_unique<Cache>()) {
  if (options_.unk_token) {
    unk_id_ = vocabulary_.id(*options_.unk_token);
    D2D_CHECK(unk_id_ >= 0, "[tokenizer] '{}': the vocabulary lacks the unk_token '{}'", vocabulary_.origin(),
              io::printable(*options_.unk_token));
  }
  const auto id_of = [&](const std::string& token, size_t rank) {
    const int64_t id = vocabulary_.id(token);
    D2D_CHECK(id >= 0,
              "[tokenizer] '{}': merge {} ('{}' + '{}') needs the token '{}', which the vocabulary lacks",
              vocabulary_.origin(), rank, io::printable(merges[rank].first),
              io::printable(merges[rank].second), io::printable(token));
    return id;
  };
  merges_.reserve(merges.size());
  const std::string& prefix = options_.continuing_subword_prefix;
  for (size_t rank = 0; rank < merges.size(); ++rank) {
    const auto& [left, right] = merges[rank];
    const int64_t left_id = id_of(left, rank), right_id = id_of(right, rank);
    const bool prefixed = !prefix.empty() && right.starts_with(prefix);
    const int64_t id = id_of(left + (prefixed ? right.substr(prefix.size()) : right), rank);
    merges_[pair_key(left_id, right_id)] = {static_cast<int32_t>(rank), static_cast<int32_t>(id)};
  }
}

Bpe::~Bpe() = default;

void Bpe::tokenize(std::string_view word, std::vector<int64_t>& ids) const {
  if (cache_->find(word, ids)) return;
  std::vector<int64_t> fresh;
  const int64_t whole = options_.ignore_merges ? vocabulary_.id(word) : -1;
  if (whole >= 0) {
    fresh.push_back(whole);
  } else {
    split(word, fresh);
    merge(fresh);
  }
  ids.insert(ids.end(), fresh.begin(), fresh.end());
  cache_->store(word, std::move(fresh));
}

void Bpe::split(std::string_view word, std::vector<int64_t>& ids) const {
  bool last_was_unknown = false;
  std::string symbol;
  for (size_t i = 0; i < word.size();) {
    const size_t start = i;
    unicode::next(word, i);
    symbol.clear();
    if (start > 0) symbol += options_.continuing_subword_prefix;
    symbol += word.substr(start, i - start);
    if (i == word.size()) symbol += options_.end_of_word_suffix;
    const int64_t id = vocabulary_.id(symbol);
    if (id >= 0) {
      ids.push_back(id);
      last_was_unknown = false;
    } else if (!(options_.byte_fallback && add_bytes(symbol, ids)) && unk_id_ >= 0) {
      if (!(last_was_unknown && options_.fuse_unk)) ids.push_back(unk_id_);
      last_was_unknown = true;
    }
  }
}

bool Bpe::add_bytes(std::string_view symbol, std::vector<int64_t>& ids) const {
  const size_t before = ids.size();
  for (const char c : symbol) {
    const int64_t id =
        vocabulary_.id(format("<0x{:02X}>", static_cast<unsigned>(static_cast<unsigned char>(c))));
    if (id < 0) {
      ids.resize(before);
      return false;
    }
    ids.push_back(id);
  }
  return true;
}

void Bpe::merge(std::vector<int64_t>& ids) const {
  if (ids.size() < 2) return;
  std::vector<Symbol> symbols(ids.size());
  const auto count = static_cast<int64_t>(ids.size());
  for (int64_t i = 0; i < count; ++i) symbols[i] = {ids[i], i - 1, i + 1 < count ? i + 1 : -1};

  struct Candidate {
    int32_t rank;
    int64_t position;
    int32_t id;
    bool operator<(const Candidate& other) const {  // lowest rank, then leftmost, on top
      return rank != other.rank ? rank > other.rank : position > other.position;
    }
  };
  std::priority_queue<Candidate> queue;
  const auto find = [&](int64_t left) -> const Merge* {
    if (left < 0 || symbols[left].next < 0) return nullptr;
    const auto found = merges_.find(pair_key(symbols[left].id, symbols[symbols[left].next].id));
    return found == merges_.end() ? nullptr : &found->second;
  };
  const auto enqueue = [&](int64_t left) {
    if (const Merge* merge = find(left)) queue.push({merge->rank, left, merge->id});
  };
  for (int64_t i = 0; i < count; ++i) enqueue(i);
  while (!queue.empty()) {
    const Candidate best = queue.top();
    queue.pop();
    Symbol& left = symbols[best.position];
    if (left.gone) continue;
    const Merge* now = find(best.position);  // a neighbour may have changed since
    if (!now || now->id != best.id) continue;
    Symbol& right = symbols[left.next];
    left.id = best.id;
    left.next = right.next;
    right.gone = true;
    if (left.next >= 0) symbols[left.next].previous = best.position;
    enqueue(left.previous);
    enqueue(best.position);
  }
  ids.clear();
  for (int64_t i = 0; i >= 0; i = symbols[i].next) ids.push_back(symbols[i].id);
}

}  // namespace d2dmoe::tokenizer
