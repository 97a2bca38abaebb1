#include "d2dmoe/tokenizer/regex_syntax.h"

#include <algorithm>
#include <cctype>
#include <vector>

#include "d2dmoe/core/error.h"
#include "d2dmoe/io/json_file.h"
#include "d2dmoe/tokenizer/unicode.h"

namespace d2dmoe::tokenizer {
namespace {

class RegexTranslator {
 public:
  RegexTranslator(std::string_view pattern, const std::string& origin, const ClassItems& items)
      : in_(pattern), origin_(origin), items_(items) {}

  std::string run() {
    while (at_ < in_.size()) one();
    return std::move(out_);
  }

 private:
  [[noreturn]] void fail(std::string_view what) const {
    throw Error(format("[tokenizer] '{}': the regular expression '{}' uses {}, which is not supported",
                       origin_, io::printable(in_), io::printable(what)));
  }
  static std::string named(char letter) { return std::string("'\\").append(1, letter).append("'"); }
  char peek(size_t ahead = 0) const { return at_ + ahead < in_.size() ? in_[at_ + ahead] : '\0'; }
  bool next_is(std::string_view text) const { return in_.substr(at_).starts_with(text); }
  void copy(size_t count) {
    count = std::min(count, in_.size() - at_);
    out_ += in_.substr(at_, count);
    at_ += count;
  }
  void copy_character() {
    size_t end = at_;
    unicode::next(in_, end);
    copy(end - at_);
  }
  std::string until(char last) {
    const size_t end = in_.find(last, at_);
    if (end == std::string_view::npos) fail(std::string("no '").append(1, last).append("'"));
    std::string text(in_.substr(at_, end - at_));
    at_ = end + 1;
    return text;
  }

  void one() {
    switch (peek()) {
      case '\\':
        return escape();
      case '[':
        atom_ = out_.size();
        return char_class();
      case '(':
        return open();
      case ')':
        copy(1);
        atom_ = open_.empty() ? 0 : open_.back();
        if (!open_.empty()) open_.pop_back();
        return;
      case '{':
        return interval();
      case '*':
      case '+':
      case '?':
      case '|':
        return copy(1);
      default:
        atom_ = out_.size();
        copy_character();
    }
  }

  void open() {
    open_.push_back(out_.size());
    if (peek(1) == '*') fail("'(*'");
    if (peek(1) != '?') return copy(1);
    for (const std::string_view start : {"(?:", "(?=", "(?!", "(?>", "(?<=", "(?<!"}) {
      if (next_is(start)) return copy(start.size());
    }
    if (next_is("(?#")) {
      until(')');
      open_.pop_back();
      return;
    }
    if (next_is("(?<")) {
      out_.append(until('>')).append(">");
      return;
    }
    options();
  }

  // (?im-x: or (?im-x); Oniguruma's m is PCRE2's s.
  void options() {
    const bool at_start = at_ == 0;
    const size_t start = at_;
    at_ += 2;
    std::string letters;
    while (peek() == 'i' || peek() == 'm' || peek() == 'x' || peek() == '-') letters += in_[at_++];
    const char last = peek();
    // Oniguruma lets (?i) reach over the alternatives that follow: the same thing only at the very start.
    if ((last != ':' && last != ')') || (last == ')' && !at_start))
      fail(format("'{}'", in_.substr(start, at_ + 1 - start)));
    if (letters.find('x') != letters.npos) fail("the option x");
    std::replace(letters.begin(), letters.end(), 'm', 's');
    out_.append("(?").append(letters) += last;
    ++at_;
    if (last == ')') open_.pop_back();
  }

  // {n,m}; with a + behind it, Oniguruma repeats the whole, where PCRE2 would take it as possessive.
  void interval() {
    size_t end = at_ + 1;
    while (end < in_.size() && (std::isdigit(static_cast<unsigned char>(in_[end])) || in_[end] == ',')) ++end;
    const std::string inside(in_.substr(at_ + 1, end - at_ - 1));
    const bool valid = end < in_.size() && in_[end] == '}' &&
                       inside.size() > (inside.find(',') != inside.npos) &&
                       std::count(inside.begin(), inside.end(), ',') <= 1;
    if (!valid) {
      atom_ = out_.size();
      out_ += "\\{";
      ++at_;
      return;
    }
    at_ = end + 1;
    out_.append(inside.starts_with(',') ? "{0" : "{").append(inside).append("}");
    if (peek() != '+') return;
    ++at_;
    out_.insert(atom_, "(?:");
    out_ += ")+";
  }

  // The items of the class that the escape at at_ names, "" when it names none; moves behind it.
  std::string escaped_class() {
    const char letter = peek(1);
    const bool negated = std::isupper(static_cast<unsigned char>(letter)) != 0;
    switch (letter) {
      case 's':
      case 'S':
        at_ += 2;
        return items_("space", negated);
      case 'd':
      case 'D':
        at_ += 2;
        return items_("digit", negated);
      case 'w':
      case 'W':
        at_ += 2;
        return items_("word", negated);
      case 'h':
        at_ += 2;
        return "0-9A-Fa-f";
      case 'p':
      case 'P':
        return property(negated);
      default:
        return "";
    }
  }

  std::string property(bool negated) {
    if (peek(2) != '{') fail(named(peek(1)) + " without a name in braces");
    at_ += 3;
    std::string name = until('}');
    if (name.starts_with('^')) {
      name.erase(0, 1);
      negated = !negated;
    }
    const std::string items = items_(name, negated);
    // Scripts and the like: PCRE2's names.
    return items.empty() ? format("\\{}{{{}}}", negated ? "P" : "p", name) : items;
  }

  void escape() {
    const char letter = peek(1);
    const bool anchor = std::string_view("AzZbBG").find(letter) != std::string_view::npos;
    if (!anchor) atom_ = out_.size();
    if (const std::string items = escaped_class(); !items.empty()) {
      out_.append("[").append(items).append("]");
    } else if (anchor || std::string_view("RXKN").find(letter) != std::string_view::npos) {
      copy(2);
    } else if (letter == 'O') {
      out_ += "(?s:.)";
      at_ += 2;
    } else if ((letter == 'k' || letter == 'g') && peek(2) == '<') {
      out_.append(until('>')).append(">");
    } else {
      character();
    }
  }

  // An escape that stands for one character, in a class or outside.
  void character() {
    const char letter = peek(1);
    if (letter == '\0') fail("a '\\' at its end");
    if (letter == 'v') {
      out_ += "\\x0B";
      at_ += 2;
    } else if (letter == 'x' && peek(2) == '{') {
      out_.append(until('}')).append("}");
    } else if (letter == 'u') {
      out_ += format("\\x{{{}}}", in_.substr(at_ + 2, 4));
      at_ = std::min(in_.size(), at_ + 6);
    } else if (std::string_view("tnrfaex").find(letter) != std::string_view::npos ||
               std::isdigit(static_cast<unsigned char>(letter))) {
      copy(2);
    } else if (std::isalnum(static_cast<unsigned char>(letter))) {
      fail(named(letter));
    } else {
      copy(1);
      copy_character();
    }
  }

  void char_class() {
    copy(1);
    if (peek() == '^') copy(1);
    bool after_set = false;
    for (bool first = true; first || peek() != ']'; first = false) {
      if (at_ >= in_.size()) fail("a '[' without ']'");
      if (next_is("&&")) fail("'&&' in a character class");
      const size_t before = at_;
      const std::string items = peek() == '\\' ? escaped_class() : "";
      if (!items.empty()) {
        out_ += items;
      } else if (next_is("[:")) {
        out_.append(until(']')).append("]");
      } else if (peek() == '[') {
        fail("a character class inside another");
      } else if (peek() == ']') {
        out_ += "\\]";
        ++at_;
      } else if (peek() == '-' && (after_set || names_a_set(at_ + 1))) {
        out_ += "\\-";  // a hyphen beside a set stands for itself
        ++at_;
      } else if (peek() == '\\') {
        character();
      } else {
        copy_character();
      }
      after_set = !items.empty() || in_.substr(before).starts_with("[:");
    }
    copy(1);
  }

  bool names_a_set(size_t position) const {
    return position + 1 < in_.size() && in_[position] == '\\' &&
           std::string_view("sSdDwWhpP").find(in_[position + 1]) != std::string_view::npos;
  }

  std::string_view in_;
  const std::string& origin_;
  const ClassItems& items_;
  size_t at_ = 0;
  std::string out_;
  size_t atom_ = 0;           // where in out_ the piece starts that a quantifier would repeat
  std::vector<size_t> open_;  // where in out_ the open groups start
};

}  // namespace

std::string translate_regex(std::string_view pattern, const std::string& origin, const ClassItems& items) {
  return RegexTranslator(pattern, origin, items).run();
}

}  // namespace d2dmoe::tokenizer
