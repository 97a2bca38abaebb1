#include <nlohmann/json.hpp>

#include "d2dmoe/core/hash.h"
#include "d2dmoe/io/json_file.h"
#include "d2dmoe/tokenizer/components.h"
#include "d2dmoe/tokenizer/normalizer.h"
#include "d2dmoe/tokenizer/pre_tokenizer.h"
#include "d2dmoe/tokenizer/unicode.h"
#include "support/support.h"

using namespace d2dmoe;
using namespace d2dmoe::test;
namespace unicode = d2dmoe::tokenizer::unicode;

namespace {

// Compares the hashes per block of 4096 code points of "A" + c + "e\u0301b".
template <class Step>
void check_blocks(const char* name, Step&& step, const nlohmann::ordered_json& blocks) {
  REQUIRE(blocks.size() >= 19);
  for (const auto& [block, hash] : blocks.items()) {
    const auto first = static_cast<char32_t>(std::stoul(block, nullptr, 16) << 12);
    std::string lines;
    for (char32_t c = first; c < first + 4096; ++c) {
      if (c >= 0xD800 && c <= 0xDFFF) continue;
      std::string text = "A";
      unicode::append(text, c);
      lines += step(text + "e\u0301b") + "\n";
    }
    INFO(name << ", code points " << block << "000 and on");
    CHECK(hash == sha256(lines));
  }
}

template <class Step>
void check_blocks(const char* name, Step&& step) {
  check_blocks(name, step, io::read_json_file(golden("tokenizer/unicode.json"))[name]);
}

std::string pieces_of(const tokenizer::PreTokenizer& pre_tokenizer, const std::string& text) {
  std::vector<tokenizer::TextPiece> pieces;
  pre_tokenizer.split(text, true, pieces);
  std::string out;
  for (size_t i = 0; i < pieces.size(); ++i) out.append(i ? "|" : "").append(pieces[i].text);
  return out;
}

std::string normalized(const tokenizer::Normalizer& normalizer, std::string text) {
  normalizer.normalize(text);
  return text;
}

}  // namespace

TEST_CASE("unicode: every code point is normalised as the tokenizers library does", "[golden]") {
  const tokenizer::BertNormalizer uncased({true, true, std::nullopt, true}), cased({true, true, true, false});
  check_blocks("lowercase", [&](const std::string& text) { return normalized(uncased, text); });
  check_blocks("strip_accents", [&](const std::string& text) { return normalized(cased, text); });
}

TEST_CASE("unicode: every code point is cut into words as the tokenizers library does", "[golden]") {
  const tokenizer::BertPreTokenizer words;
  const tokenizer::ByteLevel byte_level({false, true});
  check_blocks("bert_words", [&](const std::string& text) { return pieces_of(words, text); });
  check_blocks("byte_level", [&](const std::string& text) { return pieces_of(byte_level, text); });
}

TEST_CASE("unicode: every code point through each normalizer and pre-tokenizer of tokenizer.json",
          "[golden]") {
  const std::string origin = "t.json";
  const tokenizer::Overrides overrides;
  const tokenizer::Context context{origin, overrides};
  const auto hashes = io::read_json_file(golden("tokenizer/causal/causal.json"))["unicode"];
  const auto json = [](const std::string& type, const char* more = "") {
    return tokenizer::Json::parse(R"({"type": ")" + type + "\"" + more + "}");
  };
  for (const char* type : {"NFC", "NFD", "NFKC", "NFKD", "StripAccents", "Nmt", "Lowercase"}) {
    const auto normalizer = tokenizer::make_normalizer(json(type), context);
    check_blocks(
        type, [&](const std::string& text) { return normalized(*normalizer, text); }, hashes[type]);
  }
  for (const char* type : {"Digits", "Punctuation", "Whitespace"}) {
    const auto step = tokenizer::make_pre_tokenizer(json(type, R"(, "individual_digits": true)"), context);
    check_blocks(
        type, [&](const std::string& text) { return pieces_of(*step, text); }, hashes[type]);
  }
  const auto split = [&](const char* name, const std::string& regex) {
    const tokenizer::Split step(tokenizer::Pattern(tokenizer::Regex(regex, origin)), {});
    check_blocks(
        name, [&](const std::string& text) { return pieces_of(step, text); }, hashes[name]);
  };
  for (const char* family : {"llama3", "gpt4o"}) {
    const auto document = io::read_json_file(golden("tokenizer/causal") / (std::string(family) + ".json"));
    split(family, document["pre_tokenizer"]["pretokenizers"][0]["pattern"]["Regex"].get<std::string>());
  }
  split("classes", R"(\w+|[^\S\n]|[\W\d])");
}

TEST_CASE("unicode: invalid UTF-8 is found at its byte") {
  const auto at = [](std::string_view text) { return unicode::find_invalid_utf8(text); };
  const size_t none = std::string_view::npos;
  CHECK(at("") == none);
  CHECK(at("aé中🤔\U0010FFFF") == none);
  CHECK(at("ab\xFFz") == 2);
  CHECK(at("ab\x80") == 2);
  CHECK(at("a\xC3") == 1);  // cut off
  CHECK(at("a\xE4\xB8") == 1);
  CHECK(at("a\xF0\x9F\xA4") == 1);
  CHECK(at("\xC0\x80") == 0);  // overlong
  CHECK(at("\xE0\x80\x80") == 0);
  CHECK(at("\xF0\x80\x80\x80") == 0);
  CHECK(at("x\xED\xA0\x80") == 1);  // surrogate
  CHECK(at("\xF4\x90\x80\x80") == 0);
  CHECK(at("\xF8\x88\x80\x80\x80") == 0);
  CHECK(at(std::string_view("a\0b", 3)) == none);
}

TEST_CASE("unicode: code points survive append and next") {
  for (const char32_t c :
       {U'\0', U'a', U'\x7F', U'\x80', U'\u07FF', U'\u0800', U'\uFFFF', U'\U00010000', U'\U0010FFFF'}) {
    std::string text = "é";
    unicode::append(text, c);
    CHECK(unicode::previous(text, text.size()) == c);
    size_t position = 2;
    CHECK(unicode::next(text, position) == c);
    CHECK(position == text.size());
    CHECK(unicode::length(text) == 2);
  }
}
