#pragma once

#include <cstddef>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace d2dmoe::tokenizer {

/// A part of a text, in bytes.
struct Span {
  size_t begin = 0, end = 0;
};

/// A regular expression of a tokenizer.json: Oniguruma's syntax, which the `tokenizers` library uses, run by
/// PCRE2. Work is limited, so that no pattern hangs. Thread-safe.
class Regex {
 public:
  /// @param origin  file name for error messages
  /// @throws Error  the pattern is wrong, or uses what we do not have (named)
  Regex(std::string_view pattern, const std::string& origin);

  /// Appends the matches in `text` (valid UTF-8) from left to right. As in the library, an empty match may
  /// not follow directly on a match.
  /// @throws Error  the pattern needs too much work on this text
  void find_all(std::string_view text, std::vector<Span>& matches) const;

 private:
  struct Code;

  std::string pattern_, origin_;
  std::shared_ptr<const Code> code_;
};

}  // namespace d2dmoe::tokenizer
