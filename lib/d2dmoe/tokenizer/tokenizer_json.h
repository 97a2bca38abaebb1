#pragma once

#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "d2dmoe/tokenizer/added_tokens.h"
#include "d2dmoe/tokenizer/tokenizer.h"

namespace d2dmoe::tokenizer {

/// What tokenizer_config.json says over tokenizer.json; an empty optional leaves the latter's value.
struct Overrides {
  std::optional<bool> lowercase;             ///< BertNormalizer
  std::optional<bool> handle_chinese_chars;  ///< BertNormalizer
  std::optional<std::optional<bool>>
      strip_accents;                     ///< BertNormalizer; an empty inner value is "as lowercase"
  std::optional<bool> add_prefix_space;  ///< ByteLevel
  std::optional<std::string> pad_token, bos_token, eos_token, unk_token;
  SpecialIds model_ids;                  ///< config.json's, where no token is named
  std::vector<AddedToken> added_tokens;  ///< those that the file lacks are added to its own
  std::optional<bool> truncate_left;
};

/// Builds a tokenizer from the text of a tokenizer.json. Its `truncation` and `padding` are not used:
/// encode() takes the length, and batches have no padding.
/// @param text    the whole file
/// @param origin  its name, for error messages
/// @throws Error  corrupt JSON; vocabulary with duplicate, negative or huge ids; merges that name unknown
/// tokens; a
///                component we do not have (named, with the ones we have)
std::unique_ptr<Tokenizer> parse_tokenizer_json(std::string_view text, const std::string& origin,
                                                const Overrides& overrides = {});

}  // namespace d2dmoe::tokenizer
