#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "d2dmoe/tokenizer/regex.h"

namespace d2dmoe::tokenizer {

/// What a Split or Replace looks for: a plain text or a regular expression.
class Pattern {
 public:
  /// A plain text.
  explicit Pattern(std::string text) : text_(std::move(text)) {}
  explicit Pattern(Regex regex) : regex_(std::move(regex)) {}

  /// Appends the matches from left to right. Thread-safe.
  void find_all(std::string_view text, std::vector<Span>& matches) const;
  /// The plain text; nullptr for a regular expression.
  const std::string* plain_text() const { return regex_ ? nullptr : &text_; }

 private:
  std::string text_;
  std::optional<Regex> regex_;
};

/// `text` with every match replaced by `content`.
std::string replace_all(const Pattern& pattern, std::string_view text, std::string_view content);
/// Replaces every `from` (not empty) in `text` by `to`, from left to right.
void replace_plain(std::string& text, std::string_view from, std::string_view to);

}  // namespace d2dmoe::tokenizer
