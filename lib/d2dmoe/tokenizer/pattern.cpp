#include "d2dmoe/tokenizer/pattern.h"

#include "d2dmoe/tokenizer/unicode.h"

namespace d2dmoe::tokenizer {

void Pattern::find_all(std::string_view text, std::vector<Span>& matches) const {
  if (regex_) return regex_->find_all(text, matches);
  if (text_.empty()) {  // as the library: found between all characters
    for (size_t at = 0; at < text.size(); unicode::next(text, at)) matches.push_back({at, at});
    matches.push_back({text.size(), text.size()});
    return;
  }
  for (size_t at = text.find(text_); at != std::string_view::npos; at = text.find(text_, at + text_.size()))
    matches.push_back({at, at + text_.size()});
}

std::string replace_all(const Pattern& pattern, std::string_view text, std::string_view content) {
  std::vector<Span> matches;
  pattern.find_all(text, matches);
  std::string out;
  size_t done = 0;
  for (const Span& match : matches) {
    out.append(text.substr(done, match.begin - done)).append(content);
    done = match.end;
  }
  return out.append(text.substr(done));
}

void replace_plain(std::string& text, std::string_view from, std::string_view to) {
  size_t at = text.find(from);
  if (at == std::string::npos) return;
  std::string out;
  size_t done = 0;
  for (; at != std::string::npos; at = text.find(from, done)) {
    out.append(text, done, at - done).append(to);
    done = at + from.size();
  }
  text = out.append(text, done);
}

}  // namespace d2dmoe::tokenizer
