#include "d2dmoe/tokenizer/tokenizer.h"

#include <charconv>

#include "d2dmoe/core/error.h"
#include "d2dmoe/io/atomic_file.h"
#include "d2dmoe/io/json_file.h"
#include "d2dmoe/tokenizer/bpe.h"
#include "d2dmoe/tokenizer/json_fields.h"
#include "d2dmoe/tokenizer/tokenizer_json.h"
#include "d2dmoe/tokenizer/wordpiece.h"

namespace d2dmoe::tokenizer {
namespace {
namespace fs = std::filesystem;

/// tokenizer_config.json, special_tokens_map.json and added_tokens.json; each may be absent.
class Config {
 public:
  explicit Config(const fs::path& dir)
      : file_((dir / "tokenizer_config.json").string()),
        config_(read(dir / "tokenizer_config.json")),
        special_(read(dir / "special_tokens_map.json")),
        added_(read(dir / "added_tokens.json")) {}

  std::optional<bool> flag(const char* key) const { return get_bool(config_, key, file_); }
  bool has(const char* key) const { return config_.is_object() && config_.contains(key); }

  std::optional<bool> truncate_left() const {
    const auto side = get_string(config_, "truncation_side", file_);
    return side ? std::optional<bool>(*side == "left") : std::nullopt;
  }

  /// A special token's text, written plainly or as an object with "content".
  std::optional<std::string> token(const char* key) const {
    for (const Json* json : {&config_, &special_}) {
      const Json* value = find_key(*json, key);
      if (value)
        return value->is_object() ? get_string(*value, "content", file_) : get_string(*json, key, file_);
    }
    return {};
  }

  /// The tokens of "added_tokens_decoder" (id -> token) and of added_tokens.json (text -> id); without an id,
  /// special tokens that are written as objects, for their flags, and "additional_special_tokens".
  std::vector<AddedToken> added_tokens() const {
    std::vector<AddedToken> tokens;
    if (const Json* decoder = find_key(config_, "added_tokens_decoder"); decoder && decoder->is_object()) {
      for (const auto& [key, value] : decoder->items()) {
        AddedToken token = read_added_token(value, file_);
        const auto [end, error] = std::from_chars(key.data(), key.data() + key.size(), token.id);
        D2D_CHECK(error == std::errc() && end == key.data() + key.size(),
                  "[tokenizer] '{}': \"added_tokens_decoder\" has the key '{}', must be an id", file_,
                  io::printable(key));
        tokens.push_back(std::move(token));
      }
    }
    for (const Json* json : {&config_, &special_}) add_special(*json, tokens);
    if (!added_.is_object()) return tokens;
    for (const auto& [key, value] : added_.items()) {
      D2D_CHECK(value.is_number_integer(), "[tokenizer] 'added_tokens.json': token '{}' has the id {}",
                io::printable(key), io::printable(value.dump()));
      tokens.push_back({key, value.get<int64_t>()});
    }
    return tokens;
  }

 private:
  void add_special(const Json& json, std::vector<AddedToken>& tokens) const {
    for (const char* key : {"cls_token", "sep_token", "pad_token", "unk_token", "mask_token"}) {
      const Json* token = find_key(json, key);
      if (token && token->is_object()) tokens.push_back(read_added_token(*token, file_));
    }
    const Json* list = find_key(json, "additional_special_tokens");
    if (!list || !list->is_array()) return;
    for (const Json& token : *list) {
      if (token.is_object()) tokens.push_back(read_added_token(token, file_));
      if (token.is_string()) tokens.push_back({token.get<std::string>()});
    }
  }

  static Json read(const fs::path& file) {
    return fs::exists(file) ? io::read_json_file(file) : Json::object();
  }

  std::string file_;
  Json config_, special_, added_;
};

std::unique_ptr<Tokenizer> load_json(const fs::path& file, const Config& config) {
  Overrides overrides;
  overrides.lowercase = config.flag("do_lower_case");
  overrides.handle_chinese_chars = config.flag("tokenize_chinese_chars");
  if (config.has("strip_accents")) overrides.strip_accents = config.flag("strip_accents");
  overrides.add_prefix_space = config.flag("add_prefix_space");
  overrides.pad_token = config.token("pad_token");
  overrides.truncate_left = config.truncate_left();
  return parse_tokenizer_json(io::read_file(file), file.string(), overrides);
}

std::unique_ptr<Tokenizer> load_wordpiece(const fs::path& file, const Config& config) {
  BertOptions options;
  options.lowercase = config.flag("do_lower_case").value_or(options.lowercase);
  options.strip_accents = config.flag("strip_accents");
  options.handle_chinese_chars = config.flag("tokenize_chinese_chars").value_or(options.handle_chinese_chars);
  options.unk_token = config.token("unk_token").value_or(options.unk_token);
  options.cls_token = config.token("cls_token").value_or(options.cls_token);
  options.sep_token = config.token("sep_token").value_or(options.sep_token);
  options.pad_token = config.token("pad_token").value_or(options.pad_token);
  options.mask_token = config.token("mask_token").value_or(options.mask_token);
  options.truncate_left = config.truncate_left().value_or(false);
  options.added_tokens = config.added_tokens();
  return parse_wordpiece_vocab(io::read_file(file), file.string(), options);
}

std::unique_ptr<Tokenizer> load_byte_level(const fs::path& vocab, const fs::path& merges,
                                           const Config& config) {
  ByteLevelOptions options;
  options.add_prefix_space = config.flag("add_prefix_space").value_or(options.add_prefix_space);
  options.cls_token = config.token("cls_token").value_or(options.cls_token);
  options.sep_token = config.token("sep_token").value_or(options.sep_token);
  options.pad_token = config.token("pad_token").value_or(options.pad_token);
  options.unk_token = config.token("unk_token").value_or(options.unk_token);
  options.mask_token = config.token("mask_token").value_or(options.mask_token);
  options.truncate_left = config.truncate_left().value_or(false);
  options.added_tokens = config.added_tokens();
  return parse_byte_level_bpe(io::read_file(vocab), vocab.string(), io::read_file(merges), merges.string(),
                              options);
}

}  // namespace

std::unique_ptr<Tokenizer> load_tokenizer(const fs::path& model_dir) {
  const fs::path json = model_dir / "tokenizer.json", vocab_txt = model_dir / "vocab.txt",
                 vocab_json = model_dir / "vocab.json", merges = model_dir / "merges.txt";
  const Config config(model_dir);
  if (fs::exists(json)) return load_json(json, config);
  if (fs::exists(vocab_txt)) return load_wordpiece(vocab_txt, config);
  D2D_CHECK(fs::exists(vocab_json) && fs::exists(merges),
            "[tokenizer] '{}': no tokenizer files, must hold tokenizer.json, vocab.txt, or vocab.json with "
            "merges.txt. "
            "Hint: copy them from the model that this one was made from",
            model_dir);
  return load_byte_level(vocab_json, merges, config);
}

}  // namespace d2dmoe::tokenizer
