#include "d2dmoe/tokenizer/byte_alphabet.h"
#include "d2dmoe/tokenizer/pre_tokenizer.h"
#include "d2dmoe/tokenizer/unicode.h"

namespace d2dmoe::tokenizer {
namespace {

enum class Kind { letter, number, blank, other };

Kind kind_at(std::string_view text, size_t position, size_t& end) {
  end = position;
  const char32_t code = unicode::next(text, end);
  if (unicode::is_letter(code)) return Kind::letter;
  if (unicode::is_number(code)) return Kind::number;
  return unicode::is_whitespace(code) ? Kind::blank : Kind::other;
}

// Length of "'s", "'t", "'re", "'ve", "'m", "'ll" or "'d" at the start of the text; 0 when there is none.
size_t contraction(std::string_view text) {
  if (text.size() < 2 || text[0] != '\'') return 0;
  if (std::string_view("stmd").find(text[1]) != std::string_view::npos) return 2;
  const std::string_view two = text.substr(1, 2);
  return two == "re" || two == "ve" || two == "ll" ? 3 : 0;
}

// End of the match that starts at `start`, of
// 's|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+
size_t match_end(std::string_view text, size_t start) {
  if (const size_t length = contraction(text.substr(start))) return start + length;
  size_t position = start;
  if (text[start] == ' ' && start + 1 < text.size()) position = start + 1;
  size_t end = 0;
  const Kind kind = kind_at(text, position, end);
  size_t after = end;
  if (kind != Kind::blank) {
    while (end < text.size() && kind_at(text, end, after) == kind) end = after;
    return end;
  }
  // Blanks: all of them at the end of the text, else all but the last, which belongs to what follows.
  size_t last = start;  // start of the last blank so far
  end = start;
  while (end < text.size() && kind_at(text, end, after) == Kind::blank) {
    last = end;
    end = after;
  }
  return end == text.size() || last == start ? end : last;
}

}  // namespace

void ByteLevel::split(std::string_view text, bool at_start, std::vector<TextPiece>& pieces) const {
  std::string prefixed;
  if (options_.add_prefix_space && !text.starts_with(' ')) {
    prefixed.reserve(text.size() + 1);
    prefixed += ' ';
    prefixed += text;
    text = prefixed;
  }
  for (size_t start = 0; start < text.size();) {
    const size_t end = options_.use_regex ? match_end(text, start) : text.size();
    pieces.push_back({to_byte_alphabet(text.substr(start, end - start)), at_start && start == 0});
    start = end;
  }
}

}  // namespace d2dmoe::tokenizer
