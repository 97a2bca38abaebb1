#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

/// UTF-8 and the properties of code points, as the `tokenizers` library sees them.
namespace d2dmoe::tokenizer::unicode {

/// Byte position of the first invalid UTF-8 sequence (overlong forms and surrogates included); npos when
/// there is none.
size_t find_invalid_utf8(std::string_view text);
/// @param what  names the text in the message, for example a file
/// @throws Error  `text` is not UTF-8; the byte position is told
void check_utf8(std::string_view text, std::string_view what);

/// Reads the code point at `position` of valid UTF-8 and moves `position` behind it.
inline char32_t next(std::string_view text, size_t& position) {
  const auto byte = [&](size_t i) { return static_cast<unsigned char>(text[i]); };
  const unsigned char lead = byte(position);
  if (lead < 0x80) return byte(position++);
  const int more = lead >= 0xF0 ? 3 : lead >= 0xE0 ? 2 : 1;
  char32_t code = lead & (0x3F >> more);
  for (int i = 1; i <= more; ++i) code = code << 6 | (byte(position + i) & 0x3F);
  position += more + 1;
  return code;
}
/// Reads the code point that ends before `position` of valid UTF-8; position > 0.
char32_t previous(std::string_view text, size_t position);
/// Appends a code point as UTF-8.
void append(std::string& text, char32_t code);
/// Number of code points of valid UTF-8.
size_t length(std::string_view text);
inline bool is_ascii(std::string_view text) {
  for (const char c : text) {
    if (static_cast<unsigned char>(c) >= 0x80) return false;
  }
  return true;
}

enum class Category : uint8_t {
  unassigned,
  Lu,
  Ll,
  Lt,
  Lm,
  Lo,
  Mn,
  Mc,
  Me,
  Nd,
  Nl,
  No,
  Pc,
  Pd,
  Ps,
  Pe,
  Pi,
  Pf,
  Po,
  Sm,
  Sc,
  Sk,
  So,
  Zs,
  Zl,
  Zp,
  Cc,
  Cf,
  Co
};
/// General category.
Category category(char32_t code);

/// White_Space.
bool is_whitespace(char32_t code);
/// What BERT's clean_text drops. Tab, line feed and carriage return are not among them.
bool is_control(char32_t code);
/// Category Mn.
bool is_nonspacing_mark(char32_t code);
/// What the StripAccents normalizer drops: nearly all marks.
bool is_combining_mark(char32_t code);
/// BERT's punctuation: ASCII symbols and the categories P*.
bool is_punctuation(char32_t code);
/// The blocks that BERT splits into single characters.
bool is_chinese(char32_t code);
/// Categories L*.
bool is_letter(char32_t code);
/// Categories N*.
bool is_number(char32_t code);
/// Categories N* of a younger Unicode: what the Digits pre-tokenizer sees.
bool is_digit(char32_t code);
/// \w of regular expressions: letters, marks, decimal digits, connectors.
bool is_word(char32_t code);

/// Appends the lowercase form ('İ' has two code points).
void append_lowercase(std::string& text, char32_t code);
/// Canonical decomposition (NFD) of valid UTF-8; with `compatible`, NFKD.
std::string decompose(std::string_view text, bool compatible = false);
/// Canonical composition of decomposed text: NFC of NFD, NFKC of NFKD.
std::string compose(std::string_view decomposed);

}  // namespace d2dmoe::tokenizer::unicode
