#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "d2dmoe/tokenizer/added_tokens.h"
#include "d2dmoe/tokenizer/json_fields.h"
#include "d2dmoe/tokenizer/tokenizer.h"

namespace d2dmoe::tokenizer {

/// What stands beside a tokenizer: tokenizer_config.json, special_tokens_map.json, added_tokens.json, and the
/// model's config.json; each may be absent.
class FolderConfig {
 public:
  explicit FolderConfig(const std::filesystem::path& dir);

  std::optional<bool> flag(const char* key) const { return get_bool(config_, key, file_); }
  bool has(const char* key) const { return config_.is_object() && config_.contains(key); }
  std::optional<bool> truncate_left() const;
  /// A special token's text ("bos_token"), written plainly or as an object with "content".
  std::optional<std::string> token(const char* key) const;
  /// The tokens of "added_tokens_decoder" (id -> token) and of added_tokens.json (text -> id); without an id,
  /// special tokens and "additional_special_tokens".
  std::vector<AddedToken> added_tokens() const;
  /// config.json's "bos_token_id" and "eos_token_id"; the first where there are several.
  SpecialIds model_ids() const;
  /// "tokenizer_class" without "Fast", else what follows from config.json's "model_type"; "" when unknown.
  std::string tokenizer_class() const;

 private:
  void add_decoder_tokens(std::vector<AddedToken>& tokens) const;
  void add_special(const Json& json, bool objects, std::vector<AddedToken>& tokens) const;

  std::string file_;
  Json config_, special_, added_, model_;
};

}  // namespace d2dmoe::tokenizer
