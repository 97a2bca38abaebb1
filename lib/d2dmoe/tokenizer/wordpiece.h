#pragma once

#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "d2dmoe/tokenizer/added_tokens.h"
#include "d2dmoe/tokenizer/model.h"
#include "d2dmoe/tokenizer/tokenizer.h"

namespace d2dmoe::tokenizer {

/// Greedy longest-match-first pieces of a word (BERT's model).
class WordPiece final : public Model {
 public:
  struct Options {
    std::string unk_token = "[UNK]";
    std::string continuing_subword_prefix = "##";
    int64_t max_input_chars_per_word = 100;  ///< a longer word is one unk_token
  };

  /// @throws Error  the vocabulary lacks unk_token
  WordPiece(Vocabulary vocabulary, Options options);

  void tokenize(std::string_view word, std::vector<int64_t>& ids) const override;
  const Vocabulary& vocabulary() const override { return vocabulary_; }

 private:
  Vocabulary vocabulary_;
  Options options_;
  int64_t unk_id_;
  size_t longest_ = 1;  // bytes of the longest token, at least 1
};

/// How BERT's text is prepared when there is only a vocab.txt (tokenizer_config.json's keys).
struct BertOptions {
  bool lowercase = true;              ///< do_lower_case
  std::optional<bool> strip_accents;  ///< empty = as lowercase
  bool handle_chinese_chars = true;   ///< tokenize_chinese_chars
  std::string unk_token = "[UNK]", cls_token = "[CLS]", sep_token = "[SEP]", pad_token = "[PAD]",
              mask_token = "[MASK]";
  bool truncate_left = false;            ///< truncation_side
  std::vector<AddedToken> added_tokens;  ///< more tokens to find in the text
};

/// Builds BERT's tokenizer from the text of a vocab.txt: one token per line, its id is the line's number from
/// 0.
/// @param text    the whole file
/// @param origin  its name, for error messages
/// @throws Error  empty; not UTF-8; a token twice; [UNK], [CLS] or [SEP] missing
std::unique_ptr<Tokenizer> parse_wordpiece_vocab(std::string_view text, const std::string& origin,
                                                 const BertOptions& options = {});

}  // namespace d2dmoe::tokenizer
