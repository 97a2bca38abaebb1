#include "d2dmoe/data/delimited.h"

#include <algorithm>

#include "d2dmoe/core/error.h"

namespace d2dmoe::data {

bool DelimitedReader::at_line_end() const {
  const std::string_view rest = text_.substr(position_);
  return rest.empty() || rest.starts_with('\n') || rest.starts_with("\r\n") || rest == "\r";
}

void DelimitedReader::skip_line_end() {
  if (position_ < text_.size() && text_[position_] == '\r') ++position_;
  if (position_ < text_.size()) ++position_;
  ++line_;
}

std::string DelimitedReader::quoted_field() {
  const int64_t start_line = line_;
  std::string field;
  ++position_;  // the opening quote
  while (true) {
    const size_t quote = text_.find('"', position_);
    D2D_CHECK(quote != text_.npos,
              "[data] '{}:{}': the quote that opens here is not closed before the end of the file. Hint: set "
              "quoting to false when quotes are ordinary characters of the texts",
              origin_, start_line);
    field += text_.substr(position_, quote - position_);
    line_ += std::count(text_.begin() + static_cast<std::ptrdiff_t>(position_),
                        text_.begin() + static_cast<std::ptrdiff_t>(quote), '\n');
    position_ = quote + 1;
    if (!text_.substr(position_).starts_with('"')) break;
    field += '"';
    ++position_;
  }
  D2D_CHECK(at_line_end() || at_separator(),
            "[data] '{}:{}': there is text behind the closing quote of a field that starts on line {}. Hint: "
            "a quote inside a quoted field is written twice; set quoting to false when quotes are ordinary "
            "characters",
            origin_, line_, start_line);
  return field;
}

std::string DelimitedReader::plain_field() {
  const size_t start = position_;
  while (position_ < text_.size() && !at_line_end() && !at_separator()) {
    // To the next character that could end the field.
    const char stops[] = {separator_[0], '\n', '\r'};
    position_ = std::min(text_.find_first_of(std::string_view(stops, 3), position_ + 1), text_.size());
  }
  return std::string(text_.substr(start, position_ - start));
}

std::optional<Record> DelimitedReader::next() {
  while (position_ < text_.size() && at_line_end()) skip_line_end();
  if (position_ >= text_.size()) return {};
  Record record;
  record.line = line_;
  while (true) {
    const bool quoted = quoting_ && position_ < text_.size() && text_[position_] == '"';
    record.fields.push_back(quoted ? quoted_field() : plain_field());
    if (!at_separator() || position_ >= text_.size()) break;
    position_ += separator_.size();
  }
  skip_line_end();
  return record;
}

}  // namespace d2dmoe::data
