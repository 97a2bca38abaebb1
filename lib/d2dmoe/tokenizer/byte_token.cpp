#include "d2dmoe/tokenizer/byte_token.h"

#include <charconv>

namespace d2dmoe::tokenizer {

int byte_of_token(std::string_view token) {
  if (token.size() != 6 || !token.starts_with("<0x") || token.back() != '>') return -1;
  std::string_view digits = token.substr(3, 2);
  if (digits.front() == '+') digits.remove_prefix(1);  // the library's parser takes it
  int value = -1;
  const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), value, 16);
  const bool good = error == std::errc() && end == digits.data() + digits.size() && value >= 0;
  return good ? value : -1;
}

std::string byte_token(unsigned char byte) {
  static constexpr char kDigits[] = "0123456789ABCDEF";
  std::string token = "<0x00>";
  token[3] = kDigits[byte >> 4];
  token[4] = kDigits[byte & 15];
  return token;
}

}  // namespace d2dmoe::tokenizer
