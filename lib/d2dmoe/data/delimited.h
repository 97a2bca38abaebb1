#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace d2dmoe::data {

/// One row of a delimited text.
struct Record {
  std::vector<std::string> fields;
  int64_t line = 0;  ///< on which it starts, from 1
};

/// Cuts a text into rows and fields. With quoting, RFC 4180: a field that starts with a quote runs to the
/// next single quote, holds separators and line ends as text, and two quotes stand for one.
class DelimitedReader {
 public:
  DelimitedReader(std::string_view text, std::string separator, bool quoting, std::string origin)
      : text_(text), separator_(std::move(separator)), quoting_(quoting), origin_(std::move(origin)) {}

  /// The next row that is not an empty line; nothing at the end.
  /// @throws Error  a quoted field without end, or with text behind its closing quote (line named)
  std::optional<Record> next();

 private:
  std::string quoted_field();
  std::string plain_field();
  bool at_line_end() const;
  bool at_separator() const { return text_.substr(position_).starts_with(separator_); }
  void skip_line_end();

  std::string_view text_;
  std::string separator_;
  bool quoting_;
  std::string origin_;
  size_t position_ = 0;
  int64_t line_ = 1;
};

}  // namespace d2dmoe::data
