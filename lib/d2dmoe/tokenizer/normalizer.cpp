#include "d2dmoe/tokenizer/normalizer.h"

#include "d2dmoe/tokenizer/byte_alphabet.h"
#include "d2dmoe/tokenizer/unicode.h"

namespace d2dmoe::tokenizer {
namespace {

std::string cleaned(std::string_view text, bool clean_text, bool chinese) {
  std::string out;
  out.reserve(text.size() + 8);
  for (size_t i = 0; i < text.size();) {
    const size_t start = i;
    const char32_t code = unicode::next(text, i);
    if (clean_text && unicode::is_control(code)) continue;
    if (clean_text && unicode::is_whitespace(code)) {
      out += ' ';
    } else if (chinese && unicode::is_chinese(code)) {
      out += ' ';
      out += text.substr(start, i - start);
      out += ' ';
    } else {
      out += text.substr(start, i - start);
    }
  }
  return out;
}

std::string lowercased(std::string_view text) {
  std::string out;
  out.reserve(text.size());
  for (size_t i = 0; i < text.size();) unicode::append_lowercase(out, unicode::next(text, i));
  return out;
}

template <class Predicate>
std::string without(std::string_view text, Predicate&& unwanted) {
  std::string out;
  out.reserve(text.size());
  for (size_t i = 0; i < text.size();) {
    const size_t start = i;
    if (!unwanted(unicode::next(text, i))) out += text.substr(start, i - start);
  }
  return out;
}

bool nmt_drops(char32_t c) {
  return (c >= 0x1 && c <= 0x8) || c == 0xB || (c >= 0xE && c <= 0x1F) || c == 0x7F || c == 0x8F || c == 0x9F;
}

bool nmt_blanks(char32_t c) {
  return c == 0x9 || c == 0xA || c == 0xC || c == 0xD || c == 0x1680 || (c >= 0x200B && c <= 0x200F) ||
         c == 0x2028 || c == 0x2029 || c == 0x2581 || c == 0xFEFF || c == 0xFFFD;
}

}  // namespace

void NormalizerSequence::normalize(std::string& text) const {
  for (const auto& step : steps_) step->normalize(text);
}

void BertNormalizer::normalize(std::string& text) const {
  if (options_.clean_text || options_.handle_chinese_chars) {
    text = cleaned(text, options_.clean_text, options_.handle_chinese_chars);
  }
  if (options_.strip_accents.value_or(options_.lowercase) && !unicode::is_ascii(text)) {
    text = without(unicode::decompose(text), unicode::is_nonspacing_mark);
  }
  if (options_.lowercase) text = lowercased(text);
}

void Lowercase::normalize(std::string& text) const {
  text = lowercased(text);
}

void UnicodeForm::normalize(std::string& text) const {
  text = unicode::decompose(text, compatible_);
  if (composed_) text = unicode::compose(text);
}

void StripAccents::normalize(std::string& text) const {
  text = without(text, unicode::is_combining_mark);
}

void StripBlanks::normalize(std::string& text) const {
  size_t begin = 0, end = text.size();
  for (size_t after = 0; left_ && begin < end; begin = after) {
    after = begin;
    if (!unicode::is_whitespace(unicode::next(text, after))) break;
  }
  while (right_ && end > begin) {
    const char32_t last = unicode::previous(text, end);
    if (!unicode::is_whitespace(last)) break;
    std::string bytes;
    unicode::append(bytes, last);
    end -= bytes.size();
  }
  text = text.substr(begin, end - begin);
}

void PrependText::normalize(std::string& text) const {
  if (!text.empty()) text.insert(0, prefix_);
}

void ReplacePattern::normalize(std::string& text) const {
  text = replace_all(pattern_, text, content_);
}

void Nmt::normalize(std::string& text) const {
  std::string out;
  out.reserve(text.size());
  for (size_t i = 0; i < text.size();) {
    const char32_t code = unicode::next(text, i);
    if (!nmt_drops(code)) unicode::append(out, nmt_blanks(code) ? U' ' : code);
  }
  text = std::move(out);
}

void ByteLevelNormalizer::normalize(std::string& text) const {
  text = to_byte_alphabet(text);
}

}  // namespace d2dmoe::tokenizer
