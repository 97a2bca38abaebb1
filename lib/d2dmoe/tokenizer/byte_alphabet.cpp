#include "d2dmoe/tokenizer/byte_alphabet.h"

#include <array>

#include "d2dmoe/tokenizer/unicode.h"

namespace d2dmoe::tokenizer {
namespace {

constexpr size_t kAlphabetEnd = 0x144;  // behind the last extra character

struct ByteAlphabet {
  std::array<std::string, 256> characters;
  std::array<int, kAlphabetEnd> bytes;  // -1: not in the alphabet

  ByteAlphabet() {
    bytes.fill(-1);
    char32_t extra = 0x100;
    for (char32_t byte = 0; byte < 256; ++byte) {
      const bool printable = (byte >= 33 && byte <= 126) || (byte >= 161 && byte <= 172) || byte >= 174;
      const char32_t code = printable ? byte : extra++;
      unicode::append(characters[byte], code);
      bytes[code] = static_cast<int>(byte);
    }
  }
};

const ByteAlphabet& byte_alphabet() {
  static const ByteAlphabet alphabet;
  return alphabet;
}

}  // namespace

std::string to_byte_alphabet(std::string_view bytes) {
  const ByteAlphabet& alphabet = byte_alphabet();
  std::string out;
  for (const char c : bytes) out += alphabet.characters[static_cast<unsigned char>(c)];
  return out;
}

std::string from_byte_alphabet(std::string_view token) {
  const ByteAlphabet& alphabet = byte_alphabet();
  std::string out;
  for (size_t i = 0; i < token.size();) {
    const char32_t code = unicode::next(token, i);
    const int byte = code < kAlphabetEnd ? alphabet.bytes[code] : -1;
    if (byte < 0) return std::string(token);
    out += static_cast<char>(byte);
  }
  return out;
}

}  // namespace d2dmoe::tokenizer
