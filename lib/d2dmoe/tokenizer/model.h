#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

#include "d2dmoe/tokenizer/vocabulary.h"

namespace d2dmoe::tokenizer {

/// Turns a pre-tokenised piece of text into ids: WordPiece, BPE, Unigram.
class Model {
 public:
  virtual ~Model() = default;
  /// Appends the ids of `word` (UTF-8) to `ids`. Thread-safe.
  virtual void tokenize(std::string_view word, std::vector<int64_t>& ids) const = 0;
  virtual const Vocabulary& vocabulary() const = 0;
};

}  // namespace d2dmoe::tokenizer
