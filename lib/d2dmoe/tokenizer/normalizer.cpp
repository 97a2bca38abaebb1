#include "d2dmoe/tokenizer/normalizer.h"

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

std::string without_marks(std::string_view text) {
  std::string out;
  out.reserve(text.size());
  for (size_t i = 0; i < text.size();) {
    const size_t start = i;
    if (!unicode::is_nonspacing_mark(unicode::next(text, i))) out += text.substr(start, i - start);
  }
  return out;
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
    text = without_marks(unicode::decompose(text));
  }
  if (options_.lowercase) text = lowercased(text);
}

void Lowercase::normalize(std::string& text) const {
  text = lowercased(text);
}

void Nfd::normalize(std::string& text) const {
  text = unicode::decompose(text);
}

void StripAccents::normalize(std::string& text) const {
  text = without_marks(text);
}

}  // namespace d2dmoe::tokenizer
