#include "d2dmoe/tokenizer/unicode.h"

#include <utf8proc.h>

#include <algorithm>
#include <array>

#include "d2dmoe/core/error.h"
#include "d2dmoe/tokenizer/unicode_tables.h"

namespace d2dmoe::tokenizer::unicode {
namespace {

template <class Row>
const Row* find_run(const Row* rows, size_t count, char32_t code) {
  const Row* end = rows + count;
  const Row* row = std::lower_bound(rows, end, code, [](const Row& r, char32_t c) { return r.last < c; });
  return row != end && row->first <= code ? row : nullptr;
}

constexpr size_t kCodePointCount = 0x110000;

const std::vector<Category>& categories() {
  static const std::vector<Category> all = [] {
    std::vector<Category> out(kCodePointCount, Category::unassigned);
    for (size_t i = 0; i < tables::kCategorySize; ++i) {
      const auto& run = tables::kCategory[i];
      for (uint32_t code = run.first; code <= run.last; code += run.step)
        out[code] = static_cast<Category>(run.value);
    }
    return out;
  }();
  return all;
}

bool is_between(Category category, Category first, Category last) {
  return category >= first && category <= last;
}

// Marks of combining class 0 stay where they are; U+0345 is the only one above 239.
int combining_class(char32_t code) {
  if (code < 0x300) return 0;
  if (code == 0x345) return 240;
  if (!find_run(tables::kMoves, tables::kMovesSize, code)) return 0;
  return utf8proc_get_property(static_cast<utf8proc_int32_t>(code))->combining_class;
}

struct Point {
  char32_t code;
  int combining_class;
};

std::vector<Point> points_of(std::string_view text) {
  std::vector<Point> points;
  points.reserve(text.size());
  for (size_t i = 0; i < text.size();) {
    const char32_t code = next(text, i);
    points.push_back({code, combining_class(code)});
  }
  return points;
}

std::string text_of(const std::vector<Point>& points) {
  std::string out;
  out.reserve(points.size() * 2);
  for (const Point& p : points) append(out, p.code);
  return out;
}

// What `first` followed by `second` becomes; 0 when they stay two.
char32_t composed(char32_t first, char32_t second) {
  if (second < 0x300) return 0;
  std::array<utf8proc_int32_t, 2> pair{static_cast<utf8proc_int32_t>(first),
                                       static_cast<utf8proc_int32_t>(second)};
  const auto options = static_cast<utf8proc_option_t>(UTF8PROC_COMPOSE | UTF8PROC_STABLE);
  if (utf8proc_normalize_utf32(pair.data(), 2, options) != 1) return 0;
  const auto code = static_cast<char32_t>(pair[0]);
  return find_run(tables::kDecomposes, tables::kDecomposesSize, code) ? code : 0;
}

}  // namespace

size_t find_invalid_utf8(std::string_view text) {
  size_t i = 0;
  while (i < text.size()) {
    const auto byte = [&](size_t k) { return k < text.size() ? static_cast<unsigned char>(text[k]) : 0; };
    const unsigned char lead = byte(i);
    if (lead < 0x80) {
      ++i;
      continue;
    }
    const size_t more = lead >= 0xF5 ? 0 : lead >= 0xF0 ? 3 : lead >= 0xE0 ? 2 : lead >= 0xC2 ? 1 : 0;
    if (more == 0) return i;
    for (size_t k = 1; k <= more; ++k) {
      if ((byte(i + k) & 0xC0) != 0x80) return i;
    }
    const unsigned char second = byte(i + 1);
    const bool overlong = (lead == 0xE0 && second < 0xA0) || (lead == 0xF0 && second < 0x90);
    const bool surrogate = lead == 0xED && second >= 0xA0;
    const bool too_large = lead == 0xF4 && second >= 0x90;
    if (overlong || surrogate || too_large) return i;
    i += more + 1;
  }
  return std::string_view::npos;
}

void check_utf8(std::string_view text, std::string_view what) {
  const size_t bad = find_invalid_utf8(text);
  D2D_CHECK(bad == std::string_view::npos,
            "[tokenizer] '{}': byte {} (0x{:02x}) is not valid UTF-8. Hint: convert the text to UTF-8", what,
            bad, static_cast<unsigned>(static_cast<unsigned char>(text[bad])));
}

char32_t previous(std::string_view text, size_t position) {
  size_t start = position - 1;
  while (start > 0 && (static_cast<unsigned char>(text[start]) & 0xC0) == 0x80) --start;
  return next(text, start);
}

void append(std::string& text, char32_t code) {
  if (code < 0x80) {
    text += static_cast<char>(code);
  } else if (code < 0x800) {
    text += static_cast<char>(0xC0 | code >> 6);
    text += static_cast<char>(0x80 | (code & 0x3F));
  } else if (code < 0x10000) {
    text += static_cast<char>(0xE0 | code >> 12);
    text += static_cast<char>(0x80 | (code >> 6 & 0x3F));
    text += static_cast<char>(0x80 | (code & 0x3F));
  } else {
    text += static_cast<char>(0xF0 | code >> 18);
    text += static_cast<char>(0x80 | (code >> 12 & 0x3F));
    text += static_cast<char>(0x80 | (code >> 6 & 0x3F));
    text += static_cast<char>(0x80 | (code & 0x3F));
  }
}

size_t length(std::string_view text) {
  return static_cast<size_t>(std::count_if(
      text.begin(), text.end(), [](char c) { return (static_cast<unsigned char>(c) & 0xC0) != 0x80; }));
}

bool is_whitespace(char32_t code) {
  if (code < 0x80) return code == ' ' || (code >= 9 && code <= 13);
  return code == 0x85 || code == 0xA0 || code == 0x1680 || (code >= 0x2000 && code <= 0x200A) ||
         code == 0x2028 || code == 0x2029 || code == 0x202F || code == 0x205F || code == 0x3000;
}

bool is_control(char32_t code) {
  if (code >= 0x20 && code < 0x7F) return false;
  return find_run(tables::kControl, tables::kControlSize, code) != nullptr;
}

bool is_nonspacing_mark(char32_t code) {
  return code >= 0x300 && find_run(tables::kNonspacingMark, tables::kNonspacingMarkSize, code) != nullptr;
}

bool is_punctuation(char32_t code) {
  if (code < 0x80)
    return (code >= 33 && code <= 47) || (code >= 58 && code <= 64) || (code >= 91 && code <= 96) ||
           (code >= 123 && code <= 126);
  return find_run(tables::kPunctuation, tables::kPunctuationSize, code) != nullptr;
}

bool is_chinese(char32_t code) {
  if (code < 0x3400) return false;
  // 0x2B920 (not 0x2B820) is the library's.
  return (code >= 0x4E00 && code <= 0x9FFF) || (code >= 0x3400 && code <= 0x4DBF) ||
         (code >= 0x20000 && code <= 0x2A6DF) || (code >= 0x2A700 && code <= 0x2B81F) ||
         (code >= 0x2B920 && code <= 0x2CEAF) || (code >= 0xF900 && code <= 0xFAFF) ||
         (code >= 0x2F800 && code <= 0x2FA1F);
}

Category category(char32_t code) {
  static const std::vector<Category>& all = categories();
  return code < kCodePointCount ? all[code] : Category::unassigned;
}

bool is_combining_mark(char32_t code) {
  return code >= 0x300 && find_run(tables::kCombiningMark, tables::kCombiningMarkSize, code) != nullptr;
}

bool is_letter(char32_t code) {
  if (code < 0x80) return (code >= 'a' && code <= 'z') || (code >= 'A' && code <= 'Z');
  return is_between(category(code), Category::Lu, Category::Lo);
}

bool is_number(char32_t code) {
  if (code < 0x80) return code >= '0' && code <= '9';
  return is_between(category(code), Category::Nd, Category::No);
}

bool is_digit(char32_t code) {
  return is_number(code) || (code >= 0x11DE0 && code <= 0x11DE9) || (code >= 0x16FF4 && code <= 0x16FF6);
}

bool is_word(char32_t code) {
  if (code < 0x80) return is_letter(code) || is_number(code) || code == '_';
  const bool circled_letter = (code >= 0x24B6 && code <= 0x24E9) || (code >= 0x1F130 && code <= 0x1F149) ||
                              (code >= 0x1F150 && code <= 0x1F169) || (code >= 0x1F170 && code <= 0x1F189);
  if (circled_letter || code == 0x200C || code == 0x200D) return true;
  const Category kind = category(code);
  return is_between(kind, Category::Lu, Category::Nl) || kind == Category::Pc;
}

void append_lowercase(std::string& text, char32_t code) {
  if (code < 0x80) {
    text += static_cast<char>(code >= 'A' && code <= 'Z' ? code + 32 : code);
    return;
  }
  if (code == 0x130) {  // 'İ': the one code point whose lowercase is two
    text += "i\xCC\x87";
    return;
  }
  const auto* run = find_run(tables::kLowercase, tables::kLowercaseSize, code);
  append(text, run && (code - run->first) % run->step == 0 ? code + run->value : code);
}

std::string decompose(std::string_view text, bool compatible) {
  if (is_ascii(text)) return std::string(text);
  const auto options =
      static_cast<utf8proc_option_t>(UTF8PROC_DECOMPOSE | (compatible ? UTF8PROC_COMPAT : 0));
  std::vector<Point> points;
  points.reserve(text.size());
  std::array<utf8proc_int32_t, 32> parts;
  for (size_t i = 0; i < text.size();) {
    const char32_t code = next(text, i);
    int boundary = 0;
    // The table leaves out what is younger than the library's Unicode.
    const bool changes = code >= 0xA0 && find_run(tables::kDecomposes, tables::kDecomposesSize, code);
    const auto count = changes ? utf8proc_decompose_char(static_cast<utf8proc_int32_t>(code), parts.data(),
                                                         parts.size(), options, &boundary)
                               : 0;
    if (count <= 0 || count > static_cast<utf8proc_ssize_t>(parts.size())) {
      points.push_back({code, combining_class(code)});
      continue;
    }
    for (utf8proc_ssize_t k = 0; k < count; ++k) {
      const auto part = static_cast<char32_t>(parts[k]);
      points.push_back({part, combining_class(part)});
    }
  }
  // Canonical order: runs of combining marks by their class, stable.
  for (auto begin = points.begin(); begin != points.end();) {
    if (begin->combining_class == 0) {
      ++begin;
      continue;
    }
    const auto end = std::find_if(begin, points.end(), [](const Point& p) { return p.combining_class == 0; });
    std::stable_sort(begin, end,
                     [](const Point& a, const Point& b) { return a.combining_class < b.combining_class; });
    begin = end;
  }
  return text_of(points);
}

std::string compose(std::string_view decomposed) {
  if (is_ascii(decomposed)) return std::string(decomposed);
  std::vector<Point> out;
  size_t starter = std::string::npos;  // in `out`
  for (const Point& point : points_of(decomposed)) {
    if (starter != std::string::npos) {
      const int last = out.back().combining_class;
      const bool adjacent = out.size() == starter + 1;
      const bool blocked = !adjacent && (last == 0 || last >= point.combining_class);
      const char32_t one = blocked ? 0 : composed(out[starter].code, point.code);
      if (one != 0) {
        out[starter].code = one;
        continue;
      }
    }
    if (point.combining_class == 0) starter = out.size();
    out.push_back(point);
  }
  return text_of(out);
}

}  // namespace d2dmoe::tokenizer::unicode
