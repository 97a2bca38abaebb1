#include "d2dmoe/tokenizer/unigram.h"

#include <algorithm>

#include "d2dmoe/core/error.h"
#include "d2dmoe/io/json_file.h"
#include "d2dmoe/tokenizer/byte_token.h"
#include "d2dmoe/tokenizer/unicode.h"

namespace d2dmoe::tokenizer {
namespace {

constexpr double kUnkPenalty = 10;  // sentencepiece's: an unknown character is this much worse than any token

}  // namespace

/// The best way to a place in the word: its last token, and where that starts.
struct Unigram::Node {
  double score = 0;
  int64_t id = -1;
  size_t start = std::string::npos;  // npos: no way leads here

  void offer(double new_score, int64_t new_id, size_t new_start) {
    if (start != std::string::npos && new_score <= score) return;
    score = new_score;
    id = new_id;
    start = new_start;
  }
};

Unigram::Unigram(Vocabulary vocabulary, std::vector<double> scores, Options options)
    : vocabulary_(std::move(vocabulary)),
      scores_(std::move(scores)),
      options_(options),
      cache_(std::make_unique<WordCache>()) {
  D2D_CHECK(options_.unk_id < vocabulary_.size(),
            "[tokenizer] '{}': the unk_id {} is outside the vocabulary of {}", vocabulary_.origin(),
            options_.unk_id, vocabulary_.size());
  unk_score_ = *std::min_element(scores_.begin(), scores_.end()) - kUnkPenalty;
  token_ends_.push_back(-1);
  for (int64_t id = 0; id < vocabulary_.size(); ++id) {
    int32_t node = 0;
    for (const char c : vocabulary_.token(id)) {
      const uint64_t key = PairMap<int32_t>::key(static_cast<uint32_t>(node), static_cast<unsigned char>(c));
      if (const int32_t* child = children_.find(key)) {
        node = *child;
        continue;
      }
      node = static_cast<int32_t>(token_ends_.size());
      children_.insert_or_assign(key, node);
      token_ends_.push_back(-1);
    }
    if (node > 0) token_ends_[static_cast<size_t>(node)] = static_cast<int32_t>(id);
  }
}

std::vector<Unigram::Node> Unigram::best_path(std::string_view word) const {
  std::vector<Node> nodes(word.size() + 1);
  for (size_t start = 0, next = 0; start < word.size(); start = next) {
    next = start;
    unicode::next(word, next);
    bool has_single = false;
    int32_t node = 0;
    for (size_t end = start; end < word.size();) {
      const int32_t* child = children_.find(
          PairMap<int32_t>::key(static_cast<uint32_t>(node), static_cast<unsigned char>(word[end])));
      if (!child) break;
      node = *child;
      ++end;
      const int32_t id = token_ends_[static_cast<size_t>(node)];
      if (id < 0) continue;
      nodes[end].offer(nodes[start].score + scores_[static_cast<size_t>(id)], id, start);
      has_single = has_single || end == next;
    }
    if (has_single) continue;
    D2D_CHECK(
        options_.unk_id >= 0,
        "[tokenizer] '{}': the text has '{}', which is not in the vocabulary, and the model has no unk_id",
        vocabulary_.origin(), io::printable(word.substr(start, next - start)));
    nodes[next].offer(nodes[start].score + unk_score_, options_.unk_id, start);
  }
  return nodes;
}

void Unigram::tokenize(std::string_view word, std::vector<int64_t>& ids) const {
  if (word.empty() || cache_->find(word, ids)) return;
  const size_t first = ids.size();
  const std::vector<Node> nodes = best_path(word);
  std::vector<Span> tokens;  // from the last to the first; neighbouring unknown ones are one
  bool last_unknown = false;
  for (size_t end = word.size(); end > 0; end = nodes[end].start) {
    const bool unknown = nodes[end].id == options_.unk_id;
    if (unknown && last_unknown) {
      tokens.back().begin = nodes[end].start;
    } else {
      tokens.push_back({nodes[end].start, end});
    }
    last_unknown = unknown;
  }
  for (auto token = tokens.rbegin(); token != tokens.rend(); ++token)
    add(word.substr(token->begin, token->end - token->begin), ids);
  cache_->store(word, ids, first);
}

void Unigram::add(std::string_view token, std::vector<int64_t>& ids) const {
  const int64_t id = vocabulary_.id(token);
  if (id >= 0) return ids.push_back(id);
  const size_t before = ids.size();
  for (const char c : token) {
    const int64_t byte =
        options_.byte_fallback ? vocabulary_.id(byte_token(static_cast<unsigned char>(c))) : -1;
    if (byte < 0) {
      ids.resize(before);
      return ids.push_back(options_.unk_id);
    }
    ids.push_back(byte);
  }
}

}  // namespace d2dmoe::tokenizer
