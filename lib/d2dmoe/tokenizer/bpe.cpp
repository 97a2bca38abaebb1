#include "d2dmoe/tokenizer/bpe.h"

#include <queue>

#include "d2dmoe/core/error.h"
#include "d2dmoe/io/json_file.h"
#include "d2dmoe/tokenizer/byte_token.h"
#include "d2dmoe/tokenizer/unicode.h"

namespace d2dmoe::tokenizer {

/// A piece of the word, in a list linked by position.
struct Bpe::Symbol {
  int32_t id;
  int32_t previous, next;  // -1 at the ends
};

Bpe::Bpe(Vocabulary vocabulary, const Merges& merges, Options options)
    : vocabulary_(std::move(vocabulary)),
      options_(std::move(options)),
      cache_(std::make_unique<WordCache>()) {
  if (options_.unk_token) {
    unk_id_ = vocabulary_.id(*options_.unk_token);
    D2D_CHECK(unk_id_ >= 0, "[tokenizer] '{}': the vocabulary lacks the unk_token '{}'", vocabulary_.origin(),
              io::printable(*options_.unk_token));
  }
  plain_symbols_ = options_.continuing_subword_prefix.empty() && options_.end_of_word_suffix.empty();
  has_seams_ = plain_symbols_;
  find_initial_symbols();
  add_merges(merges);
}

void Bpe::find_initial_symbols() {
  has_all_bytes_ = options_.byte_fallback;
  for (size_t byte = 0; byte < byte_ids_.size(); ++byte) {
    byte_ids_[byte] =
        options_.byte_fallback ? vocabulary_.id(byte_token(static_cast<unsigned char>(byte))) : -1;
    has_all_bytes_ = has_all_bytes_ && byte_ids_[byte] >= 0;
  }
  for (int64_t id = 0; id < vocabulary_.size(); ++id) {
    const std::string& token = vocabulary_.token(id);
    if (token.empty() || token.size() > 4) continue;
    size_t end = 0;
    const char32_t code = unicode::next(token, end);
    if (end == token.size()) characters_.insert_or_assign(code, static_cast<int32_t>(id));
  }
}

void Bpe::add_merges(const Merges& merges) {
  const auto id_of = [&](const std::string& token, size_t rank) {
    const int64_t id = vocabulary_.id(token);
    D2D_CHECK(id >= 0,
              "[tokenizer] '{}': merge {} ('{}' + '{}') needs the token '{}', which the vocabulary lacks",
              vocabulary_.origin(), rank, io::printable(merges[rank].first),
              io::printable(merges[rank].second), io::printable(token));
    return static_cast<uint32_t>(id);
  };
  const std::string& prefix = options_.continuing_subword_prefix;
  for (size_t rank = 0; rank < merges.size(); ++rank) {
    const auto& [left, right] = merges[rank];
    const uint32_t left_id = id_of(left, rank), right_id = id_of(right, rank);
    const bool prefixed = !prefix.empty() && right.starts_with(prefix);
    const uint32_t id = id_of(left + (prefixed ? right.substr(prefix.size()) : right), rank);
    merges_.insert_or_assign(PairMap<Merge>::key(left_id, right_id),
                             {static_cast<int32_t>(rank), static_cast<int32_t>(id)});
    if (left.empty() || right.empty()) {
      has_seams_ = false;
      continue;
    }
    size_t start = 0;
    const char32_t last = unicode::previous(left, left.size()), first = unicode::next(right, start);
    joints_.insert_or_assign(PairMap<bool>::key(last, first), true);
    // These stand for other characters than those they are written with.
    for (const uint32_t part : {left_id, right_id}) {
      if (part == unk_id_ || byte_of_token(vocabulary_.token(part)) >= 0) has_seams_ = false;
    }
  }
}

// Whether no merge reaches over the place between two characters, so that the word may be cut there. What is
// on one side must not depend on the other: both are known, or become bytes.
bool Bpe::is_seam(char32_t left, char32_t right) const {
  if (joints_.find(PairMap<bool>::key(left, right))) return false;
  return has_all_bytes_ || (characters_.find(left) && characters_.find(right));
}

void Bpe::tokenize(std::string_view word, std::vector<int64_t>& ids) const {
  if (options_.ignore_merges) {
    if (const int64_t whole = vocabulary_.id(word); whole >= 0) {
      ids.push_back(whole);
      return;
    }
  }
  if (word.size() <= WordCache::kLongestWord || !has_seams_) return tokenize_part(word, ids);
  // Tokenizers without pre-tokenizer see a text as one word: its parts are what others call words.
  size_t start = 0, position = 0;
  char32_t left = unicode::next(word, position);
  while (position < word.size()) {
    const size_t here = position;
    const char32_t right = unicode::next(word, position);
    if (is_seam(left, right)) {
      tokenize_part(word.substr(start, here - start), ids);
      start = here;
    }
    left = right;
  }
  tokenize_part(word.substr(start), ids);
}

void Bpe::tokenize_part(std::string_view part, std::vector<int64_t>& ids) const {
  if (cache_->find(part, ids)) return;
  const size_t first = ids.size();
  split(part, ids);
  merge(ids, first);
  cache_->store(part, ids, first);
}

int64_t Bpe::symbol_id(std::string_view word, size_t start, size_t end, char32_t code) const {
  if (plain_symbols_) {
    const int32_t* id = characters_.find(code);
    return id ? *id : -1;
  }
  std::string symbol;
  if (start > 0) symbol += options_.continuing_subword_prefix;
  symbol += word.substr(start, end - start);
  if (end == word.size()) symbol += options_.end_of_word_suffix;
  return vocabulary_.id(symbol);
}

void Bpe::split(std::string_view word, std::vector<int64_t>& ids) const {
  // As in the library, an unknown character waits for the next known one; bytes go before it.
  bool unknown = false;
  const auto flush = [&] {
    if (unknown) ids.push_back(unk_id_);
    unknown = false;
  };
  for (size_t i = 0; i < word.size();) {
    const size_t start = i;
    const char32_t code = unicode::next(word, i);
    const int64_t id = symbol_id(word, start, i, code);
    if (id >= 0) {
      flush();
      ids.push_back(id);
    } else if (!(options_.byte_fallback && add_bytes(word.substr(start, i - start), ids)) && unk_id_ >= 0) {
      if (!options_.fuse_unk) flush();
      unknown = true;
    }
  }
  flush();
}

bool Bpe::add_bytes(std::string_view symbol, std::vector<int64_t>& ids) const {
  const size_t before = ids.size();
  for (const char c : symbol) {
    const int64_t id = byte_ids_[static_cast<unsigned char>(c)];
    if (id < 0) {
      ids.resize(before);
      return false;
    }
    ids.push_back(id);
  }
  return true;
}

// Merges the ids from `first` on, with a queue of pairs: n log n steps for a word of n characters.
void Bpe::merge(std::vector<int64_t>& ids, size_t first) const {
  const auto count = static_cast<int32_t>(ids.size() - first);
  if (count < 2) return;
  std::vector<Symbol> symbols(static_cast<size_t>(count));
  for (int32_t i = 0; i < count; ++i)
    symbols[i] = {static_cast<int32_t>(ids[first + i]), i - 1, i + 1 < count ? i + 1 : -1};

  struct Candidate {
    int32_t rank, position, id;
    bool operator<(const Candidate& other) const {  // lowest rank, then leftmost, on top
      return rank != other.rank ? rank > other.rank : position > other.position;
    }
  };
  std::priority_queue<Candidate> queue;
  constexpr int32_t gone = -1;  // the id of what was merged into its left neighbour
  const auto find = [&](int32_t left) -> const Merge* {
    if (left < 0 || symbols[left].next < 0) return nullptr;
    const auto id = static_cast<uint32_t>(symbols[left].id),
               next = static_cast<uint32_t>(symbols[symbols[left].next].id);
    return merges_.find(PairMap<Merge>::key(id, next));
  };
  const auto enqueue = [&](int32_t left) {
    if (const Merge* merge = find(left)) queue.push({merge->rank, left, merge->id});
  };
  for (int32_t i = 0; i < count; ++i) enqueue(i);
  while (!queue.empty()) {
    const Candidate best = queue.top();
    queue.pop();
    Symbol& left = symbols[best.position];
    if (left.id == gone) continue;
    const Merge* now = find(best.position);  // a neighbour may have changed since
    if (!now || now->id != best.id) continue;
    Symbol& right = symbols[left.next];
    left.id = best.id;
    left.next = right.next;
    right.id = gone;
    if (left.next >= 0) symbols[left.next].previous = best.position;
    enqueue(left.previous);
    enqueue(best.position);
  }
  ids.resize(first);
  for (int32_t i = 0; i >= 0; i = symbols[i].next) ids.push_back(symbols[i].id);
}

}  // namespace d2dmoe::tokenizer
