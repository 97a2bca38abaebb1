#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include "d2dmoe/tokenizer/added_tokens.h"
#include "d2dmoe/tokenizer/model.h"
#include "d2dmoe/tokenizer/tokenizer.h"

namespace d2dmoe::tokenizer {

/// Byte-pair encoding: the characters of a word, merged pair by pair in the order of the merges' ranks.
class Bpe final : public Model {
 public:
  using Merges = std::vector<std::pair<std::string, std::string>>;
  struct Options {
    std::optional<std::string> unk_token;  ///< empty: unknown characters vanish, as in `tokenizers`
    std::string continuing_subword_prefix;
    std::string end_of_word_suffix;
    bool fuse_unk = false;       ///< neighbouring unknown characters become one unk_token
    bool byte_fallback = false;  ///< unknown characters become <0x..> tokens where the vocabulary has them
    bool ignore_merges = false;  ///< a word that is a token is that token, whatever the merges say
  };

  /// @throws Error  a merge names a token that the vocabulary lacks; unk_token is not in the vocabulary
  Bpe(Vocabulary vocabulary, const Merges& merges, Options options);
  ~Bpe() override;

  void tokenize(std::string_view word, std::vector<int64_t>& ids) const override;
  const Vocabulary& vocabulary() const override { return vocabulary_; }

 private:
  struct Merge {
    int32_t rank, id;
  };
  class Cache;
  struct Symbol;

  void split(std::string_view word, std::vector<int64_t>& ids) const;
  bool add_bytes(std::string_view symbol, std::vector<int64_t>& ids) const;
  void merge(std::vector<int64_t>& ids) const;

  Vocabulary vocabulary_;
  Options options_;
  int64_t unk_id_ = -1;
  std::unordered_map<uint64_t, Merge> merges_;  // key: left id << 32 | right id
  std::unique_ptr<Cache> cache_;
};

/// What stands beside vocab.json and merges.txt (tokenizer_config.json's keys): RoBERTa's defaults.
struct ByteLevelOptions {
  bool add_prefix_space = false;
  std::string cls_token = "<s>", sep_token = "</s>", pad_token = "<pad>", unk_token = "<unk>",
              mask_token = "<mask>";
  bool truncate_left = false;
  std::vector<AddedToken> added_tokens;  ///< more tokens to find in the text
};

/// Builds RoBERTa's tokenizer from the texts of vocab.json and merges.txt.
/// @throws Error  corrupt JSON, bad ids, a merge that is not two known tokens, cls_token or sep_token missing
std::unique_ptr<Tokenizer> parse_byte_level_bpe(std::string_view vocab_json, const std::string& vocab_origin,
                                                std::string_view merges_txt, const std::string& merges_origin,
                                                const ByteLevelOptions& options = {});

}  // namespace d2dmoe::tokenizer
