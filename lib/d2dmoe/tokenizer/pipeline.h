#pragma once

#include <memory>
#include <vector>

#include "d2dmoe/tokenizer/added_tokens.h"
#include "d2dmoe/tokenizer/decoder.h"
#include "d2dmoe/tokenizer/model.h"
#include "d2dmoe/tokenizer/normalizer.h"
#include "d2dmoe/tokenizer/post_processor.h"
#include "d2dmoe/tokenizer/pre_tokenizer.h"
#include "d2dmoe/tokenizer/tokenizer.h"

namespace d2dmoe::tokenizer {

/// The parts of a tokenizer; normalizer, pre_tokenizer and decoder may be empty.
struct Components {
  std::unique_ptr<Normalizer> normalizer;
  std::unique_ptr<PreTokenizer> pre_tokenizer;
  std::unique_ptr<Model> model;
  std::unique_ptr<PostProcessor> post_processor;
  std::unique_ptr<Decoder> decoder;
  std::vector<AddedToken> added_tokens;  ///< of two with the same text the first counts
  SpecialIds special_ids;
  int64_t pad_id = 0;
  bool truncate_left = false;  ///< a text that is too long loses its beginning
};

/// The tokens with an id, their own or (id -1) the vocabulary's; those without one are left out.
std::vector<AddedToken> with_ids(const std::vector<AddedToken>& tokens, const Vocabulary& vocabulary);

/// The id of a token's text among the added tokens, else in the vocabulary; empty when it has none.
std::optional<int64_t> find_id(std::string_view token, const std::vector<AddedToken>& added,
                               const Vocabulary& vocabulary);

/// Puts the parts together: added tokens, normaliser, pre-tokeniser, model, truncation, post-processor.
/// @throws Error  an added token's id belongs to another token
std::unique_ptr<Tokenizer> make_pipeline(Components parts);

}  // namespace d2dmoe::tokenizer
