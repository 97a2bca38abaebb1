#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace d2dmoe::tokenizer {

/// One text (or pair) as the model sees it: special tokens added, truncated, not padded.
struct Encoding {
  std::vector<int64_t> ids;
  std::vector<int64_t> type_ids;  ///< 0 first text, 1 second
};

/// Tokens that a model gives a meaning of its own; empty where the tokenizer has none.
struct SpecialIds {
  std::optional<int64_t> bos, eos, unk;
};

/// Decodes ids one at a time, as a model makes them. All that push() and finish() give out, put together, is
/// the text that decode() gives for all ids at once.
class StreamDecoder {
 public:
  virtual ~StreamDecoder() = default;
  /// The text that is certain after this id: valid UTF-8, often empty. A character whose bytes are spread
  /// over tokens is held back until it is complete; bytes of byte-fallback tokens (<0x..>), until their run
  /// ends.
  virtual std::string push(int64_t id) = 0;
  /// No more ids come: what was held back.
  virtual std::string finish() = 0;
};

/// Text to token ids and back, equal to the `tokenizers` library on the same folder. Thread-safe.
class Tokenizer {
 public:
  virtual ~Tokenizer() = default;

  /// @param text        UTF-8; invalid bytes are an Error
  /// @param pair        second text, or nullptr
  /// @param max_length  ids at most, special tokens included; pairs are cut "longest first"; 0 = no limit
  virtual Encoding encode(std::string_view text, const std::string_view* pair, int64_t max_length) const = 0;
  /// The token's text as the vocabulary holds it ("##ing").
  virtual std::string token(int64_t id) const = 0;
  virtual int64_t vocab_size() const = 0;
  virtual int64_t pad_id() const = 0;

  /// The text of `ids`; ids without a token are left out, as in `tokenizers`.
  /// @param skip_special  leaves special tokens out
  std::string decode(const std::vector<int64_t>& ids, bool skip_special) const;
  /// @param skip_special  as for decode(). The decoder must not outlive the tokenizer.
  virtual std::unique_ptr<StreamDecoder> start_decoding(bool skip_special) const = 0;
  virtual bool is_special(int64_t id) const = 0;
  virtual SpecialIds special_ids() const = 0;
  /// Whether encode() puts special_ids().bos before the text.
  bool adds_bos() const;
};

/// tokenizer.encode, but never nothing: a text without tokens, to which the tokenizer adds none (GPT-2's), is
/// one end-of-text token, or where there is none the begin or the padding token.
/// @throws Error  as encode; no token stands for an empty text
Encoding encode_some(const Tokenizer& tokenizer, std::string_view text, const std::string_view* pair,
                     int64_t max_length);

/// Reads the tokenizer of a model folder: tokenizer.json when present, else vocab.txt (WordPiece), else
/// vocab.json with merges.txt (byte-level BPE), else tokenizer.model (SentencePiece). tokenizer_config.json
/// and special_tokens_map.json are honoured: special tokens, added tokens, do_lower_case, add_bos_token and
/// friends.
/// @throws Error  no tokenizer files; a tokenizer.json that asks for a component we do not have (named)
std::unique_ptr<Tokenizer> load_tokenizer(const std::filesystem::path& model_dir);

}  // namespace d2dmoe::tokenizer
