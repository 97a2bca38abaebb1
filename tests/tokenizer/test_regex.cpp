#include "d2dmoe/tokenizer/regex.h"
#include "d2dmoe/tokenizer/regex_syntax.h"
#include "support/support.h"

using namespace d2dmoe;
using namespace d2dmoe::test;

namespace {

std::string found(const std::string& pattern, std::string_view text) {
  std::vector<tokenizer::Span> matches;
  tokenizer::Regex(pattern, "t.json").find_all(text, matches);
  std::string out;
  for (const auto& [begin, end] : matches) out.append(text.substr(begin, end - begin)).append("|");
  return out;
}

std::string regex_error(const std::string& pattern, std::string_view text = "") {
  return message_of([&] { found(pattern, text); });
}

}  // namespace

// The expected values come from Oniguruma, through tokenizers 0.23.3.
TEST_CASE("regex: Oniguruma's syntax") {
  CHECK(found("a{1,2}+", "aaaaa b") == "aaaaa|");  // not possessive
  CHECK(found("a{,2}", "aaaaa") == "aa|aa|a|");
  CHECK(found("a{x", "a{x") == "a{x|");
  CHECK(found("^a", "a\na") == "a|a|");
  CHECK(found("a$", "a\na") == "a|a|");
  CHECK(found("(?m).", "\n") == "\n|");
  CHECK(found(".", "\na") == "a|");
  CHECK(found("\\v", "\n\x0b") == "\x0b|");
  CHECK(found("(?i:s)", "s\u017f") == "s|\u017f|");
  CHECK(found("(?i:k)", "K\u212a") == "K|\u212a|");
  CHECK(found("\\p{^L}", "a1") == "1|");
  CHECK(found("[^\\S\\n]", "a \n") == " |");
  CHECK(found("\\p{Han}+", "中文a") == "中文|");
  CHECK(found("\\h+", "x1fz") == "1f|");
  CHECK(found("\\u00e9\\x{e9}", "éé") == "éé|");
  CHECK(found("[\\w-]+", "a-b c") == "a-b|c|");
  CHECK(found("(?<!a)b", "ab b") == "b|");
  CHECK(found("(?<n>a)\\k<n>", "aa") == "aa|");
  CHECK(found("[]a]+", "a]") == "a]|");
  CHECK(found("x?+", "axb") == "|x||");
  CHECK(found("\\s", "\u180e\u0085 ") == "\u0085| |");
}

TEST_CASE("regex: an error names what is not supported or wrong") {
  CHECK(contains(regex_error("[a&&b]"), "'&&' in a character class"));
  CHECK(contains(regex_error("[a[bc]]"), "a character class inside another"));
  CHECK(contains(regex_error("(?~a)"), "'(?~'"));
  CHECK(contains(regex_error("(*FAIL)"), "'(*'"));
  CHECK(contains(regex_error("a(?i)b"), "'(?i)'"));
  CHECK(contains(regex_error("\\y"), "'\\y'"));
  CHECK(contains(regex_error("(a"), "'(a' is not valid"));
  CHECK(contains(regex_error("[a"), "a '[' without ']'"));
  CHECK(contains(regex_error("a\\"), "a '\\' at its end"));
  CHECK(contains(regex_error("\\p{Nonsense}"), "is not valid"));
  CHECK(contains(regex_error("\\p{L"), "no '}'"));
  CHECK(contains(regex_error("a\\K|(?=b\\K)", "b"), "regular expression"));
}

TEST_CASE("regex: a hostile pattern ends in an error") {
  CHECK(contains(regex_error("(a+)+$", std::string(5000, 'a') + "b"), "fails on a text of 5001 bytes"));
  CHECK(contains(regex_error("(a|aa)+$", std::string(5000, 'a') + "b"), "fails on a text"));
}

TEST_CASE("regex: matches far apart and matches that are long") {
  const std::string gap(3000, 'x');
  CHECK(found("é", gap + "é" + gap + "é") == "é|é|");
  CHECK(found("x+", gap) == gap + "|");
  CHECK(found("(?<=x)y", gap + "y") == "y|");
  CHECK(found("é", "") == "");
}
