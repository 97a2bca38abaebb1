#include "d2dmoe/tokenizer/folder_config.h"

#include <charconv>

#include "d2dmoe/core/error.h"
#include "d2dmoe/io/json_file.h"

namespace d2dmoe::tokenizer {
namespace {
namespace fs = std::filesystem;

Json read_if_there(const fs::path& file) {
  return fs::exists(file) ? io::read_json_file(file) : Json::object();
}

}  // namespace

FolderConfig::FolderConfig(const fs::path& dir)
    : file_((dir / "tokenizer_config.json").string()),
      config_(read_if_there(dir / "tokenizer_config.json")),
      special_(read_if_there(dir / "special_tokens_map.json")),
      added_(read_if_there(dir / "added_tokens.json")),
      model_(read_if_there(dir / "config.json")) {}

std::optional<bool> FolderConfig::truncate_left() const {
  const auto side = get_string(config_, "truncation_side", file_);
  return side ? std::optional<bool>(*side == "left") : std::nullopt;
}

std::optional<std::string> FolderConfig::token(const char* key) const {
  for (const Json* json : {&config_, &special_}) {
    const Json* value = find_key(*json, key);
    if (value)
      return value->is_object() ? get_string(*value, "content", file_) : get_string(*json, key, file_);
  }
  return {};
}

std::vector<AddedToken> FolderConfig::added_tokens() const {
  std::vector<AddedToken> tokens;
  add_decoder_tokens(tokens);
  // Objects first: they know their flags.
  for (const bool objects : {true, false}) {
    for (const Json* json : {&config_, &special_}) add_special(*json, objects, tokens);
  }
  if (!added_.is_object()) return tokens;
  for (const auto& [key, value] : added_.items()) {
    D2D_CHECK(value.is_number_integer(), "[tokenizer] 'added_tokens.json': token '{}' has the id {}",
              io::printable(key), io::printable(value.dump()));
    tokens.push_back({key, value.get<int64_t>()});
  }
  return tokens;
}

void FolderConfig::add_decoder_tokens(std::vector<AddedToken>& tokens) const {
  const Json* decoder = find_key(config_, "added_tokens_decoder");
  if (!decoder || !decoder->is_object()) return;
  for (const auto& [key, value] : decoder->items()) {
    AddedToken token = read_added_token(value, file_);
    const auto [end, error] = std::from_chars(key.data(), key.data() + key.size(), token.id);
    D2D_CHECK(error == std::errc() && end == key.data() + key.size(),
              "[tokenizer] '{}': \"added_tokens_decoder\" has the key '{}', must be an id", file_,
              io::printable(key));
    tokens.push_back(std::move(token));
  }
}

void FolderConfig::add_special(const Json& json, bool objects, std::vector<AddedToken>& tokens) const {
  const auto add = [&](const Json& token) {
    if (objects && token.is_object()) {
      tokens.push_back(read_added_token(token, file_));
      tokens.back().special = true;
    }
    if (!objects && token.is_string()) tokens.push_back(special_token(token.get<std::string>(), -1));
  };
  for (const char* key :
       {"bos_token", "eos_token", "cls_token", "sep_token", "pad_token", "unk_token", "mask_token"}) {
    if (const Json* token = find_key(json, key)) add(*token);
  }
  const Json* list = find_key(json, "additional_special_tokens");
  if (!list || !list->is_array()) return;
  for (const Json& token : *list) add(token);
}

SpecialIds FolderConfig::model_ids() const {
  const auto id = [&](const char* key) -> std::optional<int64_t> {
    const Json* value = find_key(model_, key);
    if (value && value->is_array() && !value->empty()) value = &value->front();
    return value && value->is_number_integer() && value->get<int64_t>() >= 0
               ? std::optional(value->get<int64_t>())
               : std::nullopt;
  };
  return {id("bos_token_id"), id("eos_token_id"), {}};
}

std::string FolderConfig::tokenizer_class() const {
  if (auto name = get_string(config_, "tokenizer_class", file_)) {
    return name->ends_with("Fast") ? name->substr(0, name->size() - 4) : *name;
  }
  static constexpr std::pair<const char*, const char*> kModelTypes[] = {
      {"gpt2", "GPT2Tokenizer"},   {"roberta", "RobertaTokenizer"}, {"qwen2", "Qwen2Tokenizer"},
      {"qwen3", "Qwen2Tokenizer"}, {"llama", "LlamaTokenizer"},     {"mistral", "LlamaTokenizer"},
      {"gemma", "GemmaTokenizer"}, {"gemma2", "GemmaTokenizer"}};
  // The family of a folder that only we read stands behind our own mark (models/attention_sites.h).
  constexpr std::string_view kMark = "d2dmoe_";
  std::string type = get_string(model_, "model_type", file_).value_or("");
  if (type.starts_with(kMark)) type.erase(0, kMark.size());
  for (const auto& [model_type, name] : kModelTypes) {
    if (type == model_type) return name;
  }
  return "";
}

}  // namespace d2dmoe::tokenizer
