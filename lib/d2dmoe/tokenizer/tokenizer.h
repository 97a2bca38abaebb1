#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace d2dmoe::tokenizer {

/// One text (or pair) as the model sees it: special tokens added, truncated, not padded.
struct Encoding {
  std::vector<int64_t> ids;
  std::vector<int64_t> type_ids;  ///< 0 first text, 1 second
};

/// Text to token ids, equal to the `tokenizers` library on the same folder.
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
};

/// Reads the tokenizer of a model folder: tokenizer.json when present, else vocab.txt (WordPiece), else
/// vocab.json with merges.txt (byte-level BPE). tokenizer_config.json's do_lower_case and friends are
/// honoured.
/// @throws Error  no tokenizer files; a tokenizer.json that asks for a component we do not have (named)
std::unique_ptr<Tokenizer> load_tokenizer(const std::filesystem::path& model_dir);

}  // namespace d2dmoe::tokenizer
