#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "d2dmoe/tokenizer/normalizer.h"

namespace d2dmoe::tokenizer {

/// A token that is looked for in the text itself, before it is cut into words: "[MASK]", "<mask>".
struct AddedToken {
  std::string content;
  int64_t id = -1;
  bool single_word = false;  ///< only where no word character touches it
  bool lstrip = false;       ///< takes the white space before it along
  bool rstrip = false;       ///< takes the white space behind it along
  bool normalized = false;   ///< looked for in the normalised text, with its own text normalised
  bool special = false;      ///< decoding may leave it out
  bool in_text = true;       ///< false: never found in a text, only special
};

/// A special token without flags.
inline AddedToken special_token(std::string content, int64_t id) {
  AddedToken token;
  token.content = std::move(content);
  token.id = id;
  token.special = true;
  return token;
}

/// Finds the leftmost, and there the longest, of a set of tokens in a text.
class AddedTokenFinder {
 public:
  /// @param normalizer  rewrites the contents first; nullptr = as they are
  AddedTokenFinder(const std::vector<AddedToken>& tokens, const Normalizer* normalizer);

  /// Calls back for each part of `text` in order: (part, -1) for text, (part, id) for a token. No part is
  /// empty.
  void split(std::string_view text, const std::function<void(std::string_view, int64_t)>& part) const;

 private:
  const AddedToken* match(std::string_view text, size_t position) const;

  std::array<std::vector<AddedToken>, 256> by_first_byte_;  // each longest first
  bool any_ = false;
};

}  // namespace d2dmoe::tokenizer
