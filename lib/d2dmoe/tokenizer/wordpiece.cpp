#include "d2dmoe/tokenizer/wordpiece.h"

#include <algorithm>

#include "d2dmoe/core/error.h"
#include "d2dmoe/io/json_file.h"
#include "d2dmoe/tokenizer/pipeline.h"
#include "d2dmoe/tokenizer/unicode.h"

namespace d2dmoe::tokenizer {

WordPiece::WordPiece(Vocabulary vocabulary, Options options)
    : vocabulary_(std::move(vocabulary)),
      options_(std::move(options)),
      unk_id_(vocabulary_.id(options_.unk_token)) {
  D2D_CHECK(
      unk_id_ >= 0,
      "[tokenizer] '{}': the vocabulary has no '{}', must have one for unknown words. Hint: is this the "
      "vocabulary of a WordPiece model, or does tokenizer_config.json name another unk_token?",
      vocabulary_.origin(), io::printable(options_.unk_token));
  for (int64_t id = 0; id < vocabulary_.size(); ++id)
    longest_ = std::max(longest_, vocabulary_.token(id).size());
}

void WordPiece::tokenize(std::string_view word, std::vector<int64_t>& ids) const {
  if (word.size() > static_cast<size_t>(options_.max_input_chars_per_word) &&
      unicode::length(word) > static_cast<size_t>(options_.max_input_chars_per_word)) {
    ids.push_back(unk_id_);
    return;
  }
  const size_t before = ids.size();
  std::string piece;
  for (size_t start = 0; start < word.size();) {
    const std::string_view prefix = start > 0 ? std::string_view(options_.continuing_subword_prefix) : "";
    piece.assign(prefix).append(word.substr(start, longest_));
    int64_t id = vocabulary_.id(piece);
    // One character less at a time; cutting inside a character finds nothing, as every token is valid UTF-8.
    while (id < 0 && piece.size() > prefix.size() + 1) {
      piece.pop_back();
      id = vocabulary_.id(piece);
    }
    if (id < 0) {
      ids.resize(before);
      ids.push_back(unk_id_);
      return;
    }
    ids.push_back(id);
    start += piece.size() - prefix.size();
  }
}

std::unique_ptr<Tokenizer> parse_wordpiece_vocab(std::string_view text, const std::string& origin,
                                                 const BertOptions& options) {
  unicode::check_utf8(text, origin);
  Vocabulary vocabulary(origin);
  int64_t id = 0;
  for (size_t start = 0; start < text.size(); ++id) {
    const size_t end = std::min(text.find('\n', start), text.size());
    std::string_view line = text.substr(start, end - start);
    if (line.ends_with('\r')) line.remove_suffix(1);
    if (!line.empty()) vocabulary.add(line, id);  // an empty line is an id without a token
    start = end + 1;
  }
  D2D_CHECK(vocabulary.count() > 0, "[tokenizer] '{}': is empty, must hold one token per line", origin);

  Components parts;
  parts.added_tokens = with_ids(options.added_tokens, vocabulary);
  for (const std::string& token :
       {options.unk_token, options.cls_token, options.sep_token, options.pad_token, options.mask_token}) {
    if (vocabulary.id(token) >= 0) parts.added_tokens.push_back(special_token(token, vocabulary.id(token)));
  }
  for (const std::string& token : {options.cls_token, options.sep_token}) {
    D2D_CHECK(vocabulary.id(token) >= 0,
              "[tokenizer] '{}': the vocabulary has no '{}', which every text needs", origin,
              io::printable(token));
  }
  parts.normalizer = std::make_unique<BertNormalizer>(
      BertNormalizer::Options{true, options.handle_chinese_chars, options.strip_accents, options.lowercase});
  parts.pre_tokenizer = std::make_unique<BertPreTokenizer>();
  parts.post_processor = std::make_unique<TemplateProcessing>(
      TemplateProcessing::bert(vocabulary.id(options.cls_token), vocabulary.id(options.sep_token)));
  parts.decoder = std::make_unique<WordPieceDecoder>("##", true);
  parts.special_ids.unk = vocabulary.id(options.unk_token);
  parts.pad_id = std::max<int64_t>(0, vocabulary.id(options.pad_token));
  parts.truncate_left = options.truncate_left;
  parts.model =
      std::make_unique<WordPiece>(std::move(vocabulary), WordPiece::Options{options.unk_token, "##", 100});
  return make_pipeline(std::move(parts));
}

}  // namespace d2dmoe::tokenizer
