#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "d2dmoe/tokenizer/added_tokens.h"
#include "d2dmoe/tokenizer/vocabulary.h"

/// Typed access to the JSON of tokenizer files: a value of another type is an Error that names file and key.
namespace d2dmoe::tokenizer {

using Json = nlohmann::ordered_json;

/// The value of `key`, or nullptr when it is absent or null.
const Json* find_key(const Json& object, const char* key);
std::optional<bool> get_bool(const Json& object, const char* key, const std::string& origin);
std::optional<int64_t> get_int(const Json& object, const char* key, const std::string& origin);
std::optional<std::string> get_string(const Json& object, const char* key, const std::string& origin);

/// "vocab": an object of tokens and ids. @throws Error  see Vocabulary::add
Vocabulary read_vocabulary(const Json& vocab, const std::string& origin);
/// An object with "content", flags and, unless the caller sets it afterwards, "id".
AddedToken read_added_token(const Json& object, const std::string& origin);

}  // namespace d2dmoe::tokenizer
