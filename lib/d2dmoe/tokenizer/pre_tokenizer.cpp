#include "d2dmoe/tokenizer/pre_tokenizer.h"

#include "d2dmoe/tokenizer/unicode.h"

namespace d2dmoe::tokenizer {
namespace {

// Cuts at white space and, where asked for, around each punctuation character.
void split_words(std::string_view text, bool punctuation, std::vector<std::string>& pieces) {
  size_t word = 0;  // start of the word that is open
  for (size_t i = 0; i < text.size();) {
    const size_t start = i;
    const char32_t code = unicode::next(text, i);
    const bool blank = unicode::is_whitespace(code);
    if (!blank && !(punctuation && unicode::is_punctuation(code))) continue;
    if (start > word) pieces.emplace_back(text.substr(word, start - word));
    if (!blank) pieces.emplace_back(text.substr(start, i - start));
    word = i;
  }
  if (word < text.size()) pieces.emplace_back(text.substr(word));
}

}  // namespace

void PreTokenizerSequence::split(std::string_view text, std::vector<std::string>& pieces) const {
  std::vector<std::string> current{std::string(text)}, next;
  for (const auto& step : steps_) {
    next.clear();
    for (const std::string& piece : current) step->split(piece, next);
    current.swap(next);
  }
  for (std::string& piece : current) pieces.push_back(std::move(piece));
}

void BertPreTokenizer::split(std::string_view text, std::vector<std::string>& pieces) const {
  split_words(text, true, pieces);
}

void WhitespaceSplit::split(std::string_view text, std::vector<std::string>& pieces) const {
  split_words(text, false, pieces);
}

}  // namespace d2dmoe::tokenizer
