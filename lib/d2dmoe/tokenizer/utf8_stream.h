#pragma once

#include <string>
#include <string_view>

namespace d2dmoe::tokenizer {

/// Bytes in, text out: what is not UTF-8 becomes U+FFFD, and a character that has begun is held back until it
/// is complete.
class Utf8Stream {
 public:
  /// What one U+FFFD stands for: the longest beginning of a character, or each byte of it.
  enum class Replace { each_beginning, each_byte };
  explicit Utf8Stream(Replace replace = Replace::each_beginning) : replace_(replace) {}
  std::string push(std::string_view bytes);
  /// No more bytes come.
  std::string finish();

 private:
  Replace replace_;
  std::string pending_;  // the beginning of a character
};

}  // namespace d2dmoe::tokenizer
