#pragma once

#include <string_view>

namespace d2dmoe::tokenizer {

/// What a SentencePiece model does to a text before it cuts it; libsentencepiece does not tell.
struct SentencePieceSpec {
  bool identity = true;                  ///< no table that rewrites characters
  bool add_dummy_prefix = true;          ///< a blank before the text
  bool remove_extra_whitespaces = true;  ///< blanks at the ends and blanks behind blanks go
  bool escape_whitespaces = true;        ///< blanks become "▁"
  bool whitespace_is_suffix = false;     ///< "▁" ends a word
};

/// Reads it from the bytes of a model (protobuf's ModelProto) that libsentencepiece has accepted.
SentencePieceSpec read_sentencepiece_spec(std::string_view model);

}  // namespace d2dmoe::tokenizer
