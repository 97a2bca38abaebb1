#include "d2dmoe/config/source_lines.h"

#include <algorithm>
#include <nlohmann/json.hpp>

namespace d2dmoe::config {
namespace {

/// Walks over JSON text that a parser has accepted. Every step checks the end all the same, so that other
/// text only ends the walk.
class Scanner {
 public:
  explicit Scanner(std::string_view text) : text_(text) {}

  size_t find(const std::vector<std::string>& path) {
    size_t found = std::string_view::npos;
    if (text_.starts_with("\xEF\xBB\xBF")) at_ = 3;
    for (const std::string& key : path) {
      found = enter(key);
      if (found == std::string_view::npos) break;
    }
    return found;
  }

 private:
  char peek() {
    at_ = std::min(text_.find_first_not_of(" \t\r\n", at_), text_.size());
    return at_ < text_.size() ? text_[at_] : '\0';
  }

  /// In the object that starts here, goes to the value of `key`. Returns the offset of the key, npos when not
  /// there.
  size_t enter(const std::string& key) {
    if (peek() != '{') return std::string_view::npos;
    ++at_;
    while (peek() == '"') {
      const size_t start = at_;
      skip_string();
      const bool match = is_key(text_.substr(start, at_ - start), key);
      if (peek() != ':') break;
      ++at_;
      if (match) return start;
      skip_value();
      if (peek() != ',') break;
      ++at_;
    }
    return std::string_view::npos;
  }

  static bool is_key(std::string_view quoted, const std::string& key) {
    if (quoted.find('\\') == quoted.npos) {
      return quoted.size() == key.size() + 2 && quoted.substr(1, key.size()) == key;
    }
    const auto value = nlohmann::json::parse(quoted, nullptr, /*allow_exceptions=*/false);
    return value.is_string() && value.get_ref<const std::string&>() == key;
  }

  void skip_string() {
    ++at_;
    while (at_ < text_.size() && text_[at_] != '"') at_ += text_[at_] == '\\' ? 2 : 1;
    at_ = std::min(at_ + 1, text_.size());
  }

  void skip_value() {
    size_t depth = 0;
    while (true) {
      const char c = peek();
      if (c == '\0') return;
      if (c == '"') {
        skip_string();
      } else if (c == '{' || c == '[') {
        ++depth;
        ++at_;
      } else if (c == '}' || c == ']') {
        if (depth == 0) return;
        --depth;
        ++at_;
      } else if (depth > 0 && (c == ',' || c == ':')) {
        ++at_;
        continue;
      } else {
        const size_t start = at_;
        at_ = std::min(text_.find_first_of(" \t\r\n,:{}[]\"", at_), text_.size());
        if (at_ == start) return;  // a comma or colon at depth 0: no value stands here
      }
      if (depth == 0) return;
    }
  }

  std::string_view text_;
  size_t at_ = 0;
};

}  // namespace

size_t line_of(std::string_view text, const std::vector<std::string>& path) {
  const size_t offset = Scanner(text).find(path);
  if (offset == std::string_view::npos) return 0;
  return 1 + static_cast<size_t>(
                 std::count(text.begin(), text.begin() + static_cast<std::ptrdiff_t>(offset), '\n'));
}

}  // namespace d2dmoe::config
