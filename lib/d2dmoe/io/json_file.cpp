#include "d2dmoe/io/json_file.h"

#include <algorithm>
#include <unordered_set>
#include <utility>
#include <vector>

#include "d2dmoe/core/error.h"
#include "d2dmoe/io/atomic_file.h"

namespace d2dmoe::io {
namespace {

using nlohmann::ordered_json;

// Deep enough for every real file; shallow enough that recursive readers of the result cannot overflow the
// stack.
constexpr size_t kMaxDepth = 256;

/// "config.json:3:14", for the byte at `position`.
std::string place(std::string_view text, size_t position, const std::string& origin) {
  const std::string_view before = text.substr(0, std::min(position, text.size()));
  const auto line = 1 + std::count(before.begin(), before.end(), '\n');
  const size_t line_start = before.rfind('\n') + 1;  // npos + 1 == 0
  return format("{}:{}:{}", origin, line, before.size() - line_start + 1);
}

/// Reads characters and tells how far the parser has come: its events carry no position.
class CountingIterator {
 public:
  using iterator_category = std::input_iterator_tag;
  using value_type = char;
  using difference_type = std::ptrdiff_t;
  using pointer = const char*;
  using reference = const char&;

  CountingIterator(const char* at, const char** reached) : at_(at), reached_(reached) {}
  reference operator*() const { return *at_; }
  CountingIterator& operator++() {
    *reached_ = ++at_;
    return *this;
  }
  CountingIterator operator++(int) {
    const CountingIterator before = *this;
    ++*this;
    return before;
  }
  bool operator==(const CountingIterator& other) const { return at_ == other.at_; }
  bool operator!=(const CountingIterator& other) const { return at_ != other.at_; }

 private:
  const char* at_;
  const char** reached_;
};

/// Builds the document from the parser's events. nlohmann's own builder takes quadratic time for an ordered
/// object (a vocabulary has 50 000 keys) and lets the last of two equal keys win.
class Builder : public nlohmann::json_sax<ordered_json> {
 public:
  Builder(std::string_view text, const std::string& origin)
      : text_(text), origin_(origin), reached_(text.data()) {}

  const char** reached() { return &reached_; }
  ordered_json take() { return std::move(root_); }

  bool null() override { return add(nullptr); }
  bool boolean(bool value) override { return add(value); }
  bool number_integer(number_integer_t value) override { return add(value); }
  bool number_unsigned(number_unsigned_t value) override { return add(value); }
  bool number_float(number_float_t value, const string_t&) override { return add(value); }
  bool string(string_t& value) override { return add(std::move(value)); }
  bool binary(binary_t&) override { return false; }  // not in JSON text

  bool start_object(size_t) override { return open(ordered_json::object()); }
  bool end_object() override { return close(); }
  bool start_array(size_t) override { return open(ordered_json::array()); }
  bool end_array() override { return close(); }

  bool key(string_t& value) override {
    Level& level = open_.back();
    D2D_CHECK(level.keys.insert(value).second, "[json] '{}': the key \"{}\" stands twice in one object",
              place(text_, key_start(), origin_), printable(value));
    level.key = std::move(value);
    return true;
  }

  bool parse_error(size_t position, const std::string&, const nlohmann::detail::exception& error) override {
    std::string_view what = error.what();  // "[json.exception.…] parse error at line 1, column 2: …"
    const size_t end_of_tag = what.find("] ");
    if (end_of_tag != what.npos) what.remove_prefix(end_of_tag + 2);
    const size_t end_of_place = what.find(": ");
    if (what.starts_with("parse error at ") && end_of_place != what.npos)
      what.remove_prefix(end_of_place + 2);
    throw Error(format("[json] '{}': {}", place(text_, position > 0 ? position - 1 : 0, origin_),
                       printable(what, 240)));
  }

 private:
  struct Level {
    ordered_json value;
    std::string key;
    std::unordered_set<std::string> keys;
  };

  bool open(ordered_json value) {
    D2D_CHECK(open_.size() < kMaxDepth, "[json] '{}': nested more than {} levels deep",
              place(text_, offset(), origin_), kMaxDepth);
    open_.push_back({std::move(value), {}, {}});
    return true;
  }

  bool close() {
    ordered_json value = std::move(open_.back().value);
    open_.pop_back();
    return add(std::move(value));
  }

  bool add(ordered_json value) {
    if (open_.empty()) {
      root_ = std::move(value);
      return true;
    }
    Level& level = open_.back();
    if (level.value.is_array()) {
      level.value.get_ref<ordered_json::array_t&>().push_back(std::move(value));
    } else {
      // The container below ordered_map: its own emplace looks through all keys.
      using Items = ordered_json::object_t::Container;
      static_cast<Items&>(level.value.get_ref<ordered_json::object_t&>())
          .emplace_back(std::move(level.key), std::move(value));
    }
    return true;
  }

  size_t offset() const { return static_cast<size_t>(reached_ - text_.data()); }

  /// Where the key that was just read begins: its opening quote.
  size_t key_start() const {
    size_t at = text_.rfind('"', offset() == 0 ? 0 : offset() - 1);
    while (at != text_.npos && at > 0) {
      at = text_.rfind('"', at - 1);
      if (at == text_.npos) break;
      const size_t before = text_.substr(0, at).find_last_not_of('\\');
      const size_t backslashes = at - (before == text_.npos ? 0 : before + 1);
      if (backslashes % 2 == 0) break;
    }
    return at == text_.npos ? offset() : at;
  }

  std::string_view text_;
  const std::string& origin_;
  const char* reached_;
  ordered_json root_;
  std::vector<Level> open_;
};

/// Length of the UTF-8 sequence at the start of `text`, 0 when it is not one.
size_t utf8_length(std::string_view text) {
  const auto byte = [&](size_t i) { return static_cast<unsigned char>(text[i]); };
  const unsigned char first = byte(0);
  if (first < 0x80) return 1;
  const size_t length = first >= 0xF0 ? 4 : first >= 0xE0 ? 3 : 2;
  if (first < 0xC2 || first > 0xF4 || text.size() < length) return 0;
  for (size_t i = 1; i < length; ++i) {
    if ((byte(i) & 0xC0) != 0x80) return 0;
  }
  if ((first == 0xE0 && byte(1) < 0xA0) || (first == 0xED && byte(1) > 0x9F) ||
      (first == 0xF0 && byte(1) < 0x90) || (first == 0xF4 && byte(1) > 0x8F)) {
    return 0;
  }
  return length;
}

}  // namespace

std::string printable(std::string_view text, size_t limit) {
  std::string out;
  while (!text.empty()) {
    const size_t length = utf8_length(text);
    if (out.size() + std::max<size_t>(length, 1) > limit) return out + "…";
    const bool control = length == 1 && (static_cast<unsigned char>(text[0]) < 0x20 || text[0] == 0x7F);
    if (length == 0 || control) {
      out += '?';
    } else {
      out += text.substr(0, length);
    }
    text.remove_prefix(std::max<size_t>(length, 1));
  }
  return out;
}

ordered_json parse_json(std::string_view text, const std::string& origin) {
  D2D_CHECK(!text.starts_with("\xFF\xFE") && !text.starts_with("\xFE\xFF"),
            "[json] '{}': is UTF-16, must be UTF-8. Hint: save it again as UTF-8", origin);
  if (text.starts_with("\xEF\xBB\xBF")) text.remove_prefix(3);
  D2D_CHECK(text.find_first_not_of(" \t\r\n") != text.npos, "[json] '{}': is empty, must hold a JSON value",
            origin);
  // nlohmann takes a zero byte for the end of the text.
  const size_t zero = text.find('\0');
  D2D_CHECK(zero == text.npos, "[json] '{}': holds a zero byte. Hint: is this really a JSON file?",
            place(text, zero, origin));
  Builder builder(text, origin);
  ordered_json::sax_parse(CountingIterator(text.data(), builder.reached()),
                          CountingIterator(text.data() + text.size(), builder.reached()), &builder);
  return builder.take();
}

ordered_json read_json_file(const std::filesystem::path& file) {
  return parse_json(read_file(file), file.string());
}

}  // namespace d2dmoe::io
