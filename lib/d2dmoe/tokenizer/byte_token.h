#pragma once

#include <string>
#include <string_view>

namespace d2dmoe::tokenizer {

/// The byte that a token "<0x0A>" stands for; -1 for other tokens.
int byte_of_token(std::string_view token);
/// "<0x0A>"
std::string byte_token(unsigned char byte);

}  // namespace d2dmoe::tokenizer
