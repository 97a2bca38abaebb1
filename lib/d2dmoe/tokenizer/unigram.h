#pragma once

#include <cstdint>
#include <memory>
#include <string_view>
#include <vector>

#include "d2dmoe/tokenizer/model.h"
#include "d2dmoe/tokenizer/pair_map.h"
#include "d2dmoe/tokenizer/pattern.h"
#include "d2dmoe/tokenizer/word_cache.h"

namespace d2dmoe::tokenizer {

/// sentencepiece's unigram language model: of all ways to cut a word into tokens, the one with the largest
/// sum of scores.
class Unigram final : public Model {
 public:
  struct Options {
    int64_t unk_id = -1;  ///< -1: a text with unknown characters is an Error
    bool byte_fallback = false;
  };

  /// @param scores  by id, as many as the vocabulary has tokens
  /// @throws Error  unk_id outside the vocabulary
  Unigram(Vocabulary vocabulary, std::vector<double> scores, Options options);

  void tokenize(std::string_view word, std::vector<int64_t>& ids) const override;
  const Vocabulary& vocabulary() const override { return vocabulary_; }

 private:
  struct Node;
  std::vector<Node> best_path(std::string_view word) const;
  void add(std::string_view token, std::vector<int64_t>& ids) const;

  Vocabulary vocabulary_;
  std::vector<double> scores_;
  Options options_;
  double unk_score_ = 0;
  PairMap<int32_t> children_;        // of a trie: node and byte to node
  std::vector<int32_t> token_ends_;  // by node: the token that ends there, or -1
  std::unique_ptr<WordCache> cache_;
};

}  // namespace d2dmoe::tokenizer
