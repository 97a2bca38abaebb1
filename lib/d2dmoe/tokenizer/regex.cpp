#include "d2dmoe/tokenizer/regex.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <map>
#include <mutex>

#include "d2dmoe/core/error.h"
#include "d2dmoe/io/json_file.h"
#include "d2dmoe/tokenizer/regex_syntax.h"
#include "d2dmoe/tokenizer/unicode.h"

namespace d2dmoe::tokenizer {
namespace {

// Backtracking steps at one place of the text; far more than the patterns of real tokenizers take, about a
// tenth of a second.
constexpr uint32_t kMatchLimit = 20'000'000;
constexpr uint32_t kHeapLimitKiB = 64 * 1024;
// Places that one call may try: the time between two looks at the clock.
constexpr size_t kWindow = 256;
constexpr auto kTimeLimit = std::chrono::seconds(10);

using CodePointer = std::unique_ptr<pcre2_code, decltype(&pcre2_code_free)>;

std::string regex_message(int number) {
  std::array<PCRE2_UCHAR, 256> text{};
  pcre2_get_error_message(number, text.data(), text.size());
  return reinterpret_cast<const char*>(text.data());
}

CodePointer compile_regex(const std::string& translated, std::string& error) {
  const std::unique_ptr<pcre2_compile_context, decltype(&pcre2_compile_context_free)> context(
      pcre2_compile_context_create(nullptr), pcre2_compile_context_free);
  pcre2_set_newline(context.get(), PCRE2_NEWLINE_LF);
  int number = 0;
  PCRE2_SIZE position = 0;
  CodePointer code(pcre2_compile(reinterpret_cast<PCRE2_SPTR>(translated.data()), translated.size(),
                                 PCRE2_UTF | PCRE2_UCP | PCRE2_MULTILINE | PCRE2_USE_OFFSET_LIMIT |
                                     PCRE2_NEVER_BACKSLASH_C,
                                 &number, &position, context.get()),
                   pcre2_code_free);
  if (code) {
    pcre2_jit_compile(code.get(), PCRE2_JIT_COMPLETE);  // without it matching is only slower
  } else {
    error = regex_message(number);
  }
  return code;
}

/// What a thread needs to match.
class Scratch {
 public:
  Scratch()
      : data(pcre2_match_data_create(1, nullptr)),
        context(pcre2_match_context_create(nullptr)),
        stack_(pcre2_jit_stack_create(32 * 1024, 1024 * 1024, nullptr)) {
    pcre2_set_match_limit(context, kMatchLimit);
    pcre2_set_heap_limit(context, kHeapLimitKiB);
    pcre2_jit_stack_assign(context, nullptr, stack_);
  }
  ~Scratch() {
    pcre2_match_data_free(data);
    pcre2_match_context_free(context);
    pcre2_jit_stack_free(stack_);
  }
  Scratch(const Scratch&) = delete;
  Scratch& operator=(const Scratch&) = delete;

  int match(const pcre2_code* code, std::string_view text, size_t position, size_t last_start) {
    pcre2_set_offset_limit(context, last_start);
    const auto* subject = reinterpret_cast<PCRE2_SPTR>(text.data());
    const int rc = pcre2_match(code, subject, text.size(), position, PCRE2_NO_UTF_CHECK, data, context);
    if (rc != PCRE2_ERROR_JIT_STACKLIMIT) return rc;
    return pcre2_match(code, subject, text.size(), position, PCRE2_NO_UTF_CHECK | PCRE2_NO_JIT, data,
                       context);
  }

  pcre2_match_data* data;
  pcre2_match_context* context;

 private:
  pcre2_jit_stack* stack_;
};

size_t next_boundary(std::string_view text, size_t position) {
  do {
    ++position;
  } while (position < text.size() && (static_cast<unsigned char>(text[position]) & 0xC0) == 0x80);
  return position;
}

constexpr std::array<std::string_view, 29> kCategoryNames = {
    "Cn", "Lu", "Ll", "Lt", "Lm", "Lo", "Mn", "Mc", "Me", "Nd", "Nl", "No", "Pc", "Pd", "Ps",
    "Pe", "Pi", "Pf", "Po", "Sm", "Sc", "Sk", "So", "Zs", "Zl", "Zp", "Cc", "Cf", "Co"};

// Oniguruma's \w: the fractions and superscripts of Latin-1 are in it, the joiners are not.
bool is_regex_word(char32_t code) {
  if (code == 0x200C || code == 0x200D) return false;
  return unicode::is_word(code) || code == 0xB2 || code == 0xB3 || code == 0xB9 ||
         (code >= 0xBC && code <= 0xBE);
}

bool is_in_class(std::string_view name, char32_t code) {
  if (name == "space") return unicode::is_whitespace(code);
  if (name == "word") return is_regex_word(code);
  if (name == "digit") name = "Nd";
  const std::string_view category = kCategoryNames[static_cast<size_t>(unicode::category(code))];
  return category.starts_with(name);
}

bool is_class_name(std::string_view name) {
  if (name == "space" || name == "word" || name == "digit") return true;
  if (name == "L&" || name.empty() || name.size() > 2) return false;
  return std::any_of(kCategoryNames.begin(), kCategoryNames.end(),
                     [&](std::string_view category) { return category.starts_with(name); });
}

constexpr char32_t kCodePoints = 0x110000;

// Marks the code points that PCRE2 puts into a class.
std::vector<bool> native_class(const std::string& items) {
  std::string text;
  text.reserve(4'400'000);
  for (char32_t code = 0; code < kCodePoints; ++code) {
    if (code < 0xD800 || code > 0xDFFF) unicode::append(text, code);
  }
  std::vector<bool> in(kCodePoints, false);
  std::string error;
  const CodePointer code = compile_regex("[" + items + "]+", error);
  D2D_CHECK(code, "[tokenizer] PCRE2 does not know '{}': {}", items, error);
  Scratch scratch;
  for (size_t position = 0; scratch.match(code.get(), text, position, text.size()) >= 0;) {
    const PCRE2_SIZE* found = pcre2_get_ovector_pointer(scratch.data);
    size_t next = found[0];
    while (next < found[1]) in[unicode::next(text, next)] = true;
    position = found[1];
  }
  return in;
}

template <class Predicate>
std::string class_ranges(Predicate&& wanted) {
  std::string out;
  for (char32_t code = 0; code < kCodePoints; ++code) {
    if ((code >= 0xD800 && code <= 0xDFFF) || !wanted(code)) continue;
    char32_t last = code;
    while (last + 1 < kCodePoints && (last + 1 < 0xD800 || last + 1 > 0xDFFF) && wanted(last + 1)) ++last;
    out += format("\\x{{{:x}}}", static_cast<uint32_t>(code));
    if (last > code) out += format("-\\x{{{:x}}}", static_cast<uint32_t>(last));
    code = last;
  }
  return out;
}

// PCRE2's own class is fast, but of another Unicode version than the library's: what it lacks is added. Where
// it has too much, every range is written down.
std::string make_class_items(std::string_view name, bool negated) {
  if (negated) return class_ranges([&](char32_t code) { return !is_in_class(name, code); });
  if (name == "space") return class_ranges(unicode::is_whitespace);
  const std::string native = name == "word"    ? "\\p{L}\\p{M}\\p{Nd}\\p{Nl}\\p{Pc}"
                             : name == "digit" ? "\\p{Nd}"
                                               : format("\\p{{{}}}", name);
  const std::vector<bool> known = native_class(native);
  for (char32_t code = 0; code < kCodePoints; ++code) {
    if (known[code] && !is_in_class(name, code))
      return class_ranges([&](char32_t c) { return is_in_class(name, c); });
  }
  return native + class_ranges([&](char32_t c) { return !known[c] && is_in_class(name, c); });
}

std::string class_items(std::string_view name, bool negated) {
  static std::mutex mutex;
  static std::map<std::pair<std::string, bool>, std::string> made;
  if (!is_class_name(name)) return "";
  const std::lock_guard lock(mutex);
  std::string& items = made[{std::string(name), negated}];
  if (items.empty()) items = make_class_items(name, negated);
  return items;
}

}  // namespace

struct Regex::Code {
  CodePointer code;
};

Regex::Regex(std::string_view pattern, const std::string& origin) : pattern_(pattern), origin_(origin) {
  unicode::check_utf8(pattern, origin);
  std::string error;
  CodePointer code = compile_regex(translate_regex(pattern, origin, class_items), error);
  D2D_CHECK(code, "[tokenizer] '{}': the regular expression '{}' is not valid: {}", origin,
            io::printable(pattern), error);
  code_ = std::make_shared<Code>(Code{std::move(code)});
}

void Regex::find_all(std::string_view text, std::vector<Span>& matches) const {
  static thread_local Scratch scratch;
  const auto check = [&](bool good, const std::string& reason) {
    D2D_CHECK(good, "[tokenizer] '{}': the regular expression '{}' fails on a text of {} bytes: {}", origin_,
              io::printable(pattern_), text.size(), reason);
  };
  const auto begin = std::chrono::steady_clock::now();
  size_t last_match = std::string_view::npos, calls = 0;
  for (size_t position = 0; position <= text.size();) {
    const size_t last_start = std::min(text.size(), position + kWindow);
    const int rc = scratch.match(code_->code.get(), text, position, last_start);
    if (++calls % 16 == 0)
      check(std::chrono::steady_clock::now() - begin < kTimeLimit, "it takes more than 10 seconds");
    if (rc == PCRE2_ERROR_NOMATCH) {
      position = next_boundary(text, last_start);
      continue;
    }
    check(rc >= 0, regex_message(rc));
    const PCRE2_SIZE* found = pcre2_get_ovector_pointer(scratch.data);
    check(found[0] <= found[1], "a match ends before it starts");
    if (found[0] == found[1] && found[0] == last_match) {
      position = next_boundary(text, position);
      continue;
    }
    matches.push_back({found[0], found[1]});
    position = last_match = found[1];
  }
}

}  // namespace d2dmoe::tokenizer
