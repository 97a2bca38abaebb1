#pragma once

#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "d2dmoe/tokenizer/added_tokens.h"
#include "d2dmoe/tokenizer/tokenizer.h"

namespace d2dmoe::tokenizer {

/// What stands beside tokenizer.model (tokenizer_config.json's keys): Llama's and Gemma's defaults.
struct SentencePieceOptions {
  bool add_bos = true;
  bool add_eos = false;
  /// Every part of a text that special tokens cut begins with a blank; false: only the beginning of the text
  /// does.
  bool legacy = true;
  /// Empty: those of the model, and their texts ("<s>") mean nothing in a text, as in libsentencepiece; those
  /// that are named here are found in the text, as in `transformers`.
  std::optional<std::string> bos_token, eos_token, unk_token, pad_token;
  bool truncate_left = false;
  std::vector<AddedToken> added_tokens;  ///< more tokens to find in the text
};

/// Builds a tokenizer from the bytes of a SentencePiece tokenizer.model (unigram or BPE). Ids are those of
/// libsentencepiece.
/// @throws Error  not a SentencePiece model; add_bos or add_eos without such a token
std::unique_ptr<Tokenizer> parse_sentencepiece_model(std::string_view bytes, const std::string& origin,
                                                     const SentencePieceOptions& options = {});

}  // namespace d2dmoe::tokenizer
