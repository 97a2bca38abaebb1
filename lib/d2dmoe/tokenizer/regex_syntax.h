#pragma once

#include <functional>
#include <string>
#include <string_view>

namespace d2dmoe::tokenizer {

/// Gives the inside of a PCRE2 character class ("\p{L}\x{1C89}") that holds what Oniguruma means by a class:
/// "L", "Lu", …, "space", "word", "digit". With `negated`, what is not in it. "" for an unknown name.
using ClassItems = std::function<std::string(std::string_view name, bool negated)>;

/// Rewrites a regular expression from Oniguruma's syntax to PCRE2's.
/// @throws Error  it uses what PCRE2 has no word for; the message names it, file and pattern
std::string translate_regex(std::string_view pattern, const std::string& origin, const ClassItems& items);

}  // namespace d2dmoe::tokenizer
