#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "d2dmoe/tokenizer/added_tokens.h"
#include "d2dmoe/tokenizer/model.h"
#include "d2dmoe/tokenizer/pair_map.h"
#include "d2dmoe/tokenizer/tokenizer.h"
#include "d2dmoe/tokenizer/word_cache.h"

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

  void tokenize(std::string_view word, std::vector<int64_t>& ids) const override;
  const Vocabulary& vocabulary() const override { return vocabulary_; }

 private:
  struct Merge {
    int32_t rank, id;
  };
  struct Symbol;

  void find_initial_symbols();
  void add_merges(const Merges& merges);
  bool is_seam(char32_t left, char32_t right) const;
  void tokenize_part(std::string_view part, std::vector<int64_t>& ids) const;
  void split(std::string_view word, std::vector<int64_t>& ids) const;
  int64_t symbol_id(std::string_view word, size_t start, size_t end, char32_t code) const;
  bool add_bytes(std::string_view symbol, std::vector<int64_t>& ids) const;
  void merge(std::vector<int64_t>& ids, size_t first) const;

  Vocabulary vocabulary_;
  Options options_;
  int64_t unk_id_ = -1;
  PairMap<Merge> merges_;                // by ids
  PairMap<int32_t> characters_;          // ids of tokens of one character, by code point
  PairMap<bool> joints_;                 // characters that a merge brings together
  std::array<int64_t, 256> byte_ids_{};  // of <0x..>; -1: there is none
  bool has_all_bytes_ = false;
  bool plain_symbols_ = true;  // no prefix and no suffix
  bool has_seams_ = true;
  std::unique_ptr<WordCache> cache_;
};

/// What stands beside vocab.json and merges.txt (tokenizer_config.json's keys): RoBERTa's defaults.
struct ByteLevelOptions {
  bool add_prefix_space = false;
  /// RoBERTa's form: <s> text </s>; false: GPT-2's, the text alone; empty: RoBERTa's where the vocabulary has
  /// cls_token and sep_token.
  std::optional<bool> add_special_tokens = true;
  bool qwen2 = false;    ///< Qwen2's normalisation and way to cut words, not GPT-2's
  bool add_bos = false;  ///< without RoBERTa's form: bos_token before each text
  std::string cls_token = "<s>", sep_token = "</s>", pad_token = "<pad>", unk_token = "<unk>",
              mask_token = "<mask>";
  std::string bos_token, eos_token;  ///< "": cls_token and sep_token, or GPT-2's <|endoftext|>
  bool truncate_left = false;
  std::vector<AddedToken> added_tokens;  ///< more tokens to find in the text
};

/// Builds RoBERTa's or GPT-2's tokenizer from the texts of vocab.json and merges.txt.
/// @throws Error  corrupt JSON, bad ids, a merge that is not two known tokens, a special token that each text
/// needs is missing
std::unique_ptr<Tokenizer> parse_byte_level_bpe(std::string_view vocab_json, const std::string& vocab_origin,
                                                std::string_view merges_txt, const std::string& merges_origin,
                                                const ByteLevelOptions& options = {});

}  // namespace d2dmoe::tokenizer
