#include "d2dmoe/tokenizer/pre_tokenizer.h"

#include <algorithm>

#include "d2dmoe/tokenizer/unicode.h"

namespace d2dmoe::tokenizer {
namespace {

struct Cut {
  Span span;
  bool is_match;
};

// Matches and what lies between them, in order.
std::vector<Cut> partition(const std::vector<Span>& matches, size_t size, bool invert) {
  std::vector<Cut> cuts;
  cuts.reserve(matches.size() * 2 + 1);
  size_t done = 0;
  for (const Span& match : matches) {
    if (match.begin > done) cuts.push_back({{done, match.begin}, invert});
    cuts.push_back({match, !invert});
    done = match.end;
  }
  if (done < size) cuts.push_back({{done, size}, invert});
  return cuts;
}

// Joins matches to their neighbours as the behaviour asks.
std::vector<Span> joined(const std::vector<Cut>& cuts, SplitBehavior behavior) {
  std::vector<Span> spans;
  spans.reserve(cuts.size());
  bool last_was_match = false;
  for (const auto& [span, is_match] : cuts) {
    bool to_last = false, drop = false;
    switch (behavior) {
      case SplitBehavior::removed:
        drop = is_match;
        break;
      case SplitBehavior::isolated:
        break;
      case SplitBehavior::contiguous:
        to_last = is_match == last_was_match;
        break;
      case SplitBehavior::merged_with_previous:
        to_last = is_match && !last_was_match;
        break;
      case SplitBehavior::merged_with_next:
        to_last = !is_match && last_was_match;
        break;
    }
    if (to_last && !spans.empty()) {
      spans.back().end = span.end;
    } else if (!drop) {
      spans.push_back(span);
    }
    last_was_match = is_match;
  }
  return spans;
}

void emit(std::string_view text, Span span, bool at_start, std::vector<TextPiece>& pieces) {
  if (span.end > span.begin)
    pieces.push_back(
        {std::string(text.substr(span.begin, span.end - span.begin)), at_start && span.begin == 0});
}

}  // namespace

void PreTokenizerSequence::split(std::string_view text, bool at_start, std::vector<TextPiece>& pieces) const {
  std::vector<TextPiece> current{{std::string(text), at_start}}, next;
  for (const auto& step : steps_) {
    next.clear();
    for (const TextPiece& piece : current) step->split(piece.text, piece.at_start, next);
    current.swap(next);
  }
  for (TextPiece& piece : current) pieces.push_back(std::move(piece));
}

void BertPreTokenizer::split(std::string_view text, bool at_start, std::vector<TextPiece>& pieces) const {
  size_t word = 0;  // start of the word that is open
  for (size_t i = 0; i < text.size();) {
    const size_t start = i;
    const char32_t code = unicode::next(text, i);
    const bool blank = unicode::is_whitespace(code);
    if (!blank && !unicode::is_punctuation(code)) continue;
    emit(text, {word, start}, at_start, pieces);
    if (!blank) emit(text, {start, i}, at_start, pieces);
    word = i;
  }
  emit(text, {word, text.size()}, at_start, pieces);
}

void Split::split(std::string_view text, bool at_start, std::vector<TextPiece>& pieces) const {
  std::vector<Span> matches;
  pattern_.find_all(text, matches);
  for (const Span& span : joined(partition(matches, text.size(), options_.invert), options_.behavior))
    emit(text, span, at_start, pieces);
}

void SplitCharacters::split(std::string_view text, bool at_start, std::vector<TextPiece>& pieces) const {
  std::vector<Span> matches;
  for (size_t i = 0; i < text.size();) {
    const size_t start = i;
    if (test_(unicode::next(text, i), delimiter_)) matches.push_back({start, i});
  }
  for (const Span& span : joined(partition(matches, text.size(), false), behavior_))
    emit(text, span, at_start, pieces);
}

void WhitespaceWords::split(std::string_view text, bool at_start, std::vector<TextPiece>& pieces) const {
  for (size_t start = 0, end = 0; start < text.size(); start = end) {
    const auto kind_at = [&](size_t position, size_t& after) {
      after = position;
      const char32_t code = unicode::next(text, after);
      return unicode::is_word(code) ? 0 : unicode::is_whitespace(code) ? 1 : 2;
    };
    const int kind = kind_at(start, end);
    for (size_t after = end; end < text.size() && kind_at(end, after) == kind;) end = after;
    if (kind != 1) emit(text, {start, end}, at_start, pieces);
  }
}

void Metaspace::split(std::string_view text, bool at_start, std::vector<TextPiece>& pieces) const {
  const std::string& mark = options_.replacement;
  std::string marked;
  marked.reserve(text.size() + text.size() / 2 + mark.size());
  for (const char c : text) {
    if (c == ' ') {
      marked += mark;
    } else {
      marked += c;
    }
  }
  const bool wanted = options_.prepend == Prepend::always || (options_.prepend == Prepend::first && at_start);
  if (wanted && !marked.starts_with(mark)) marked.insert(0, mark);
  if (!options_.split) {
    pieces.push_back({std::move(marked), at_start});
    return;
  }
  for (size_t start = 0; start < marked.size();) {
    // A mark begins a piece; marks in a row are pieces of their own.
    const size_t end = std::min(marked.find(mark, start + 1), marked.size());
    emit(marked, {start, end}, at_start, pieces);
    start = end;
  }
}

void FixedLength::split(std::string_view text, bool at_start, std::vector<TextPiece>& pieces) const {
  for (size_t start = 0, end = 0; start < text.size(); start = end) {
    for (size_t count = 0; count < length_ && end < text.size(); ++count) unicode::next(text, end);
    emit(text, {start, end}, at_start, pieces);
  }
}

}  // namespace d2dmoe::tokenizer
