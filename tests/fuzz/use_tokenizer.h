#pragma once

#include "d2dmoe/tokenizer/tokenizer.h"
#include "d2dmoe/tokenizer/unicode.h"
#include "fuzz.h"

namespace d2dmoe::fuzz {

/// Encodes `text` and a hard one, alone, as a pair and cut short, and decodes them. Ids that come out must be
/// in the vocabulary, and a stream of them must give valid UTF-8.
inline void use_tokenizer(const tokenizer::Tokenizer& tokenizer, std::string_view text) {
  const std::string_view hard =
      "Hello  wo\xCC\x88rld\t[MASK] \xE6\x97\xA5\xE6\x9C\xAC \xF0\x9F\x99\x82\xC2\xAD x";
  for (const int64_t max_length : {0, 1, 7}) {
    for (const std::string_view* pair : {static_cast<const std::string_view*>(nullptr), &hard}) {
      for (const std::string_view first : {text, hard}) {
        expect_answer([&] {
          const tokenizer::Encoding encoding = tokenizer.encode(first, pair, max_length);
          require(encoding.ids.size() == encoding.type_ids.size());
          require(max_length == 0 || encoding.ids.size() <= static_cast<size_t>(max_length));
          const auto stream = tokenizer.start_decoding(max_length == 1);
          std::string streamed;
          for (const int64_t id : encoding.ids) streamed += stream->push(id);
          streamed += stream->finish();
          require(tokenizer::unicode::find_invalid_utf8(streamed) == std::string::npos);
          require(tokenizer.decode(encoding.ids, max_length == 1) == streamed);
          for (const int64_t id : encoding.ids) {
            require(id >= 0 && id < tokenizer.vocab_size());
            tokenizer.token(id);
          }
        });
      }
    }
  }
}

}  // namespace d2dmoe::fuzz
