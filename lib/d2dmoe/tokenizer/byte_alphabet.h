#pragma once

#include <string>
#include <string_view>

namespace d2dmoe::tokenizer {

/// Writes each byte as one character of GPT-2's alphabet: printable Latin-1 bytes as themselves, the others
/// as U+0100, U+0101, …
std::string to_byte_alphabet(std::string_view bytes);
/// The bytes behind the characters of a token; a token with a character outside the alphabet stands for
/// itself.
std::string from_byte_alphabet(std::string_view token);

}  // namespace d2dmoe::tokenizer
