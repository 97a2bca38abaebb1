#include "d2dmoe/tokenizer/added_tokens.h"

#include <algorithm>

#include "d2dmoe/tokenizer/unicode.h"

namespace d2dmoe::tokenizer {
namespace {

bool touches_word(std::string_view text, size_t start, size_t stop) {
  const bool before = start > 0 && unicode::is_word(unicode::previous(text, start));
  size_t position = stop;
  const bool behind = stop < text.size() && unicode::is_word(unicode::next(text, position));
  return before || behind;
}

// Start of the white space that ends at `stop`, not before `floor`.
size_t blanks_before(std::string_view text, size_t floor, size_t stop) {
  while (stop > floor) {
    size_t start = stop - 1;
    while (start > floor && (static_cast<unsigned char>(text[start]) & 0xC0) == 0x80) --start;
    size_t end = start;
    if (!unicode::is_whitespace(unicode::next(text, end))) break;
    stop = start;
  }
  return stop;
}

size_t blanks_behind(std::string_view text, size_t start) {
  while (start < text.size()) {
    size_t end = start;
    if (!unicode::is_whitespace(unicode::next(text, end))) break;
    start = end;
  }
  return start;
}

}  // namespace

AddedTokenFinder::AddedTokenFinder(const std::vector<AddedToken>& tokens, const Normalizer* normalizer) {
  for (AddedToken token : tokens) {
    if (normalizer) normalizer->normalize(token.content);
    if (token.content.empty() || !token.in_text) continue;
    by_first_byte_[static_cast<unsigned char>(token.content[0])].push_back(std::move(token));
    any_ = true;
  }
  for (auto& list : by_first_byte_) {
    std::stable_sort(list.begin(), list.end(), [](const AddedToken& a, const AddedToken& b) {
      return a.content.size() > b.content.size();
    });
  }
}

const AddedToken* AddedTokenFinder::match(std::string_view text, size_t position) const {
  for (const AddedToken& token : by_first_byte_[static_cast<unsigned char>(text[position])]) {
    if (text.substr(position).starts_with(token.content)) return &token;
  }
  return nullptr;
}

void AddedTokenFinder::split(std::string_view text,
                             const std::function<void(std::string_view, int64_t)>& part) const {
  size_t done = 0;  // everything before went out
  for (size_t i = 0; any_ && i < text.size();) {
    const AddedToken* token = match(text, i);
    if (!token) {
      ++i;
      continue;
    }
    size_t start = i, stop = i + token->content.size();
    i = stop;
    if (token->single_word && touches_word(text, start, stop)) continue;
    start = std::max(start, done);
    if (token->lstrip) start = blanks_before(text, done, start);
    if (token->rstrip) stop = blanks_behind(text, stop);
    if (start > done) part(text.substr(done, start - done), -1);
    part(text.substr(start, stop - start), token->id);
    done = stop;
    i = std::max(i, stop);
  }
  if (done < text.size()) part(text.substr(done), -1);
}

}  // namespace d2dmoe::tokenizer
