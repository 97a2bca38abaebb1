#include "d2dmoe/tokenizer/json_fields.h"

#include "d2dmoe/core/error.h"
#include "d2dmoe/io/json_file.h"

namespace d2dmoe::tokenizer {
namespace {

// An integer that fits any id; others (fractions, 2^70) come back empty.
std::optional<int64_t> integer(const Json& value) {
  if (value.is_number_unsigned() && value.get<uint64_t>() > uint64_t{INT64_MAX}) return {};
  if (!value.is_number_integer()) return {};
  return value.get<int64_t>();
}

}  // namespace

const Json* find_key(const Json& object, const char* key) {
  if (!object.is_object()) return nullptr;
  const auto found = object.find(key);
  return found == object.end() || found->is_null() ? nullptr : &*found;
}

std::optional<bool> get_bool(const Json& object, const char* key, const std::string& origin) {
  const Json* value = find_key(object, key);
  if (!value) return {};
  D2D_CHECK(value->is_boolean(), "[tokenizer] '{}': \"{}\" is {}, must be true or false", origin, key,
            io::printable(value->dump()));
  return value->get<bool>();
}

std::optional<int64_t> get_int(const Json& object, const char* key, const std::string& origin) {
  const Json* value = find_key(object, key);
  if (!value) return {};
  const auto number = integer(*value);
  D2D_CHECK(number.has_value(), "[tokenizer] '{}': \"{}\" is {}, must be an integer", origin, key,
            io::printable(value->dump()));
  return number;
}

std::optional<std::string> get_string(const Json& object, const char* key, const std::string& origin) {
  const Json* value = find_key(object, key);
  if (!value) return {};
  D2D_CHECK(value->is_string(), "[tokenizer] '{}': \"{}\" is {}, must be a text", origin, key,
            io::printable(value->dump()));
  return value->get<std::string>();
}

Vocabulary read_vocabulary(const Json& vocab, const std::string& origin) {
  D2D_CHECK(vocab.is_object() && !vocab.empty(),
            "[tokenizer] '{}': the vocabulary is {}, must be an object of tokens and ids", origin,
            vocab.is_object() ? "empty" : io::printable(vocab.dump(), 40));
  Vocabulary vocabulary(origin);
  for (const auto& [token, value] : vocab.items()) {
    const auto id = integer(value);
    D2D_CHECK(id.has_value(),
              "[tokenizer] '{}': token '{}' has the id {}, must be an integer between 0 and {}", origin,
              io::printable(token), io::printable(value.dump(), 40), Vocabulary::kMaxId);
    vocabulary.add(token, *id);
  }
  return vocabulary;
}

AddedToken read_added_token(const Json& object, const std::string& origin) {
  AddedToken token;
  const auto content = get_string(object, "content", origin);
  D2D_CHECK(content.has_value(), "[tokenizer] '{}': the added token {} has no \"content\"", origin,
            io::printable(object.dump()));
  token.content = *content;
  token.id = get_int(object, "id", origin).value_or(-1);
  token.single_word = get_bool(object, "single_word", origin).value_or(false);
  token.lstrip = get_bool(object, "lstrip", origin).value_or(false);
  token.rstrip = get_bool(object, "rstrip", origin).value_or(false);
  token.normalized = get_bool(object, "normalized", origin).value_or(false);
  token.special = get_bool(object, "special", origin).value_or(false);
  return token;
}

}  // namespace d2dmoe::tokenizer
