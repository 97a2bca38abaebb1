#include <nlohmann/json.hpp>

#include "d2dmoe/tokenizer/components.h"
#include "d2dmoe/tokenizer/tokenizer_json.h"
#include "support/support.h"

using namespace d2dmoe;
using namespace d2dmoe::test;
using nlohmann::ordered_json;

namespace {

// A WordPiece tokenizer over a few tokens; tests change single parts of it.
ordered_json base() {
  return ordered_json::parse(R"({
    "added_tokens": [], "normalizer": {"type": "BertNormalizer", "lowercase": true},
    "pre_tokenizer": {"type": "BertPreTokenizer"}, "post_processor": null,
    "model": {"type": "WordPiece", "unk_token": "?", "max_input_chars_per_word": 5,
              "vocab": {"?": 0, "a": 1, "b": 2, "##b": 3, "ab": 4, "zz": 5, "<t>": 6, "c": 7, "-": 8}}})");
}

std::string tokens(const ordered_json& document, std::string_view text,
                   const std::string_view* pair = nullptr) {
  const auto t = tokenizer::parse_tokenizer_json(document.dump(), "t.json");
  std::string out;
  for (const int64_t id : t->encode(text, pair, 0).ids)
    out.append(out.empty() ? "" : " ").append(t->token(id));
  return out;
}

std::string added(const char* flags, std::string_view text) {
  ordered_json document = base();
  ordered_json token = ordered_json::parse(flags);
  token["content"] = "Zz";
  token["id"] = 9;
  document["added_tokens"].push_back(token);
  return tokens(document, text);
}

ordered_json bpe(const char* options = "{}") {
  ordered_json document = ordered_json::parse(R"({"model": {"type": "BPE",
    "vocab": {"a": 0, "b": 1, "c": 2, "ab": 3, "bc": 4, "abc": 5, "?": 6, "<0xC3>": 7, "<0xA9>": 8, "aa": 9},
    "merges": ["b c", "a b", "ab c", "a a"]}})");
  document["model"].update(ordered_json::parse(options));
  return document;
}

}  // namespace

TEST_CASE("tokenizer: WordPiece takes the longest piece first") {
  CHECK(tokens(base(), "ab abb aab") == "ab ab ##b ?");
  CHECK(tokens(base(), "a-b") == "a - b");
  CHECK(tokens(base(), "abbbb abbbbb") == "ab ##b ##b ##b ?");  // 5 and 6 characters
}

TEST_CASE("tokenizer: added tokens, as the tokenizers library finds them") {
  CHECK(added("{}", "aZzb zz Zz") == "a Zz b zz Zz");
  CHECK(added(R"({"lstrip": true})", "a  Zz  b") == "a Zz b");
  CHECK(added(R"({"rstrip": true})", "Zz  ZzZz") == "Zz Zz Zz");
  CHECK(added(R"({"single_word": true})", "a Zz -Zz- aZz") == "a Zz - Zz - ?");
  CHECK(added(R"({"normalized": true})", "a ZZ bzz") == "a Zz b Zz");
}

TEST_CASE("tokenizer: of added tokens that overlap the longest wins") {
  ordered_json document = base();
  document["added_tokens"] =
      ordered_json::parse(R"([{"id": 9, "content": "<x"}, {"id": 10, "content": "<x>"}])");
  CHECK(tokens(document, "a<x>b<xb") == "a <x> b <x b");
}

TEST_CASE("tokenizer: post-processors") {
  ordered_json document = base();
  const std::string_view pair = "c";
  const auto types = [&] {
    const auto t = tokenizer::parse_tokenizer_json(document.dump(), "t.json");
    return t->encode("a", &pair, 0).type_ids;
  };
  CHECK(tokens(document, "a", &pair) == "a c");
  CHECK(types() == std::vector<int64_t>{0, 1});
  document["post_processor"] =
      ordered_json::parse(R"({"type": "BertProcessing", "cls": ["<t>", 6], "sep": ["-", 8]})");
  CHECK(tokens(document, "a") == "<t> a -");
  CHECK(tokens(document, "a", &pair) == "<t> a - c -");
  CHECK(types() == std::vector<int64_t>{0, 0, 0, 1, 1});
  document["post_processor"]["type"] = "RobertaProcessing";
  CHECK(tokens(document, "a", &pair) == "<t> a - - c -");
  CHECK(types() == std::vector<int64_t>{0, 0, 0, 0, 0, 0});
  document["post_processor"] = ordered_json::parse(R"({"type": "TemplateProcessing",
    "single": [{"Sequence": {"id": "A", "type_id": 2}}, {"SpecialToken": {"id": "<t>", "type_id": 3}}],
    "pair": [{"Sequence": {"id": "B", "type_id": 1}}, {"Sequence": {"id": "A", "type_id": 0}}],
    "special_tokens": {"<t>": {"id": "<t>", "ids": [6, 8], "tokens": ["<t>", "-"]}}})");
  CHECK(tokens(document, "a") == "a <t> -");
  CHECK(tokens(document, "a", &pair) == "c a");
}

TEST_CASE("tokenizer: BPE merges by rank, leftmost first") {
  CHECK(tokens(bpe(), "abc") == "a bc");
  CHECK(tokens(bpe(), "aaa") == "aa a");
  CHECK(tokens(bpe(), "ab") == "ab");
  CHECK(tokens(bpe(R"({"ignore_merges": true})"), "abc") == "abc");
  const std::string many(20000, 'a');
  CHECK(tokens(bpe(), many).size() == 3 * 10000 - 1);
}

TEST_CASE("tokenizer: BPE's unknown characters") {
  CHECK(tokens(bpe(), "axéb") == "ab");  // the library lets them vanish before it merges
  CHECK(tokens(bpe(R"({"unk_token": "?"})"), "axéb") == "a ? ? b");
  CHECK(tokens(bpe(R"({"unk_token": "?", "fuse_unk": true})"), "axéb") == "a ? b");
  CHECK(tokens(bpe(R"({"unk_token": "?", "byte_fallback": true})"), "axéb") ==
        "a <0xC3> <0xA9> ? b");  // the library's order
}

TEST_CASE("tokenizer: sequences of normalizers and pre-tokenizers") {
  ordered_json document = base();
  document["normalizer"] =
      ordered_json::parse(R"({"type": "Sequence", "normalizers": [{"type": "NFD"}, {"type": "Lowercase"},
                              {"type": "StripAccents"}]})");
  document["pre_tokenizer"] =
      ordered_json::parse(R"({"type": "Sequence", "pretokenizers": [{"type": "WhitespaceSplit"},
                              {"type": "BertPreTokenizer"}]})");
  CHECK(tokens(document, " ÁB\u3000C-á ") == "ab c - a");
}

TEST_CASE("tokenizer: a component that is not there is named with those that are") {
  const auto message = [](const char* part, const char* type) {
    ordered_json document = base();
    document[part]["type"] = type;
    return message_of([&] { tokenizer::parse_tokenizer_json(document.dump(), "t.json"); });
  };
  CHECK(contains(message("normalizer", "Precompiled"), "normalizer 'Precompiled' is not supported"));
  CHECK(contains(message("normalizer", "Precompiled"), "BertNormalizer, Sequence"));
  CHECK(contains(message("pre_tokenizer", "UnicodeScripts"),
                 "pre_tokenizer 'UnicodeScripts' is not supported"));
  CHECK(contains(message("post_processor", "X"), "post_processor 'X' is not supported"));
  CHECK(contains(message("decoder", "CTC"), "decoder 'CTC' is not supported"));
  CHECK(contains(message("model", "WordLevel"), "model 'WordLevel' is not supported"));
  CHECK(contains(message("model", "WordLevel"), "WordPiece, BPE, Unigram"));
}

namespace {

// What a pre-tokenizer does, without a model between: pieces with a bar between them.
std::string cut(const char* json, std::string_view text, bool at_start = true) {
  const std::string origin = "t.json";
  const tokenizer::Overrides overrides;
  const auto step = tokenizer::make_pre_tokenizer(tokenizer::Json::parse(json), {origin, overrides});
  std::vector<tokenizer::TextPiece> pieces;
  step->split(text, at_start, pieces);
  std::string out;
  for (size_t i = 0; i < pieces.size(); ++i) out.append(i ? "|" : "").append(pieces[i].text);
  return out;
}

std::string normalize(const char* json, std::string text) {
  const std::string origin = "t.json";
  const tokenizer::Overrides overrides;
  tokenizer::make_normalizer(tokenizer::Json::parse(json), {origin, overrides})->normalize(text);
  return text;
}

}  // namespace

// The expected values of these come from tokenizers 0.23.3.
TEST_CASE("tokenizer: each behaviour of Split") {
  const auto split = [](const char* behavior, const char* invert) {
    const std::string json = std::string(R"({"type": "Split", "pattern": {"String": "-"}, "behavior": ")") +
                             behavior + "\", \"invert\": " + invert + "}";
    return cut(json.c_str(), "--a-b--c-");
  };
  CHECK(split("Removed", "false") == "a|b|c");
  CHECK(split("Removed", "true") == "-|-|-|-|-|-");
  CHECK(split("Isolated", "false") == "-|-|a|-|b|-|-|c|-");
  CHECK(split("Contiguous", "false") == "--|a|-|b|--|c|-");
  CHECK(split("MergedWithPrevious", "false") == "-|-|a-|b-|-|c-");
  CHECK(split("MergedWithPrevious", "true") == "-|-a|-b|-|-c|-");
  CHECK(split("MergedWithNext", "false") == "-|-a|-b|-|-c|-");
  CHECK(split("MergedWithNext", "true") == "-|-|a-|b-|-|c-");
  CHECK(contains(message_of([&] { split("Joined", "false"); }), "the behavior 'Joined' is not supported"));
}

TEST_CASE("tokenizer: pre-tokenizers that cut at characters") {
  CHECK(cut(R"({"type": "Punctuation", "behavior": "Contiguous"})", "..a,b!! c?") == "..|a|,|b|!!| c|?");
  CHECK(cut(R"({"type": "Digits"})", "a12b3") == "a|12|b|3");
  CHECK(cut(R"({"type": "Digits", "individual_digits": true})", "a12b3") == "a|1|2|b|3");
  CHECK(cut(R"({"type": "CharDelimiterSplit", "delimiter": "x"})", "axxb") == "a|b");
  CHECK(cut(R"({"type": "FixedLength", "length": 2})", "abcdé") == "ab|cd|é");
  CHECK(cut(R"({"type": "Whitespace"})", "Hey, you?! a_b") == "Hey|,|you|?!|a_b");
  CHECK(cut(R"({"type": "Split", "pattern": {"String": ""}, "behavior": "Isolated"})", "abc") == "a|b|c");
}

TEST_CASE("tokenizer: Metaspace puts its mark in front as the scheme says") {
  const char* first = R"({"type": "Metaspace", "replacement": "▁", "prepend_scheme": "first"})";
  CHECK(cut(first, "hey you  ") == "▁hey|▁you|▁|▁");
  CHECK(cut(first, " hey") == "▁hey");
  CHECK(cut(first, "hey", false) == "hey");
  CHECK(cut(R"({"type": "Metaspace", "prepend_scheme": "always"})", "hey", false) == "▁hey");
  CHECK(cut(R"({"type": "Metaspace", "prepend_scheme": "never"})", "a b") == "a|▁b");
  CHECK(cut(R"({"type": "Metaspace", "add_prefix_space": false})", "a b") == "a|▁b");
  CHECK(cut(R"({"type": "Metaspace", "split": false})", "a b") == "▁a▁b");
  CHECK(contains(message_of([] { cut(R"({"type": "Metaspace", "replacement": "ab"})", "a"); }),
                 "must be one character"));
  CHECK(
      contains(message_of([] { cut(R"({"type": "Metaspace", "prepend_scheme": "last"})", "a"); }), "'last'"));
  // Where a blank before the word was dropped, the word does not begin the text.
  const char* sequence = R"({"type": "Sequence", "pretokenizers": [{"type": "WhitespaceSplit"},
                             {"type": "Metaspace", "prepend_scheme": "first"}]})";
  CHECK(cut(sequence, "a b") == "▁a|b");
  CHECK(cut(sequence, " a b") == "a|b");
}

TEST_CASE("tokenizer: normalizers that rewrite") {
  CHECK(normalize(R"({"type": "Prepend", "prepend": "▁"})", "a") == "▁a");
  CHECK(normalize(R"({"type": "Prepend", "prepend": "▁"})", "") == "");
  CHECK(normalize(R"({"type": "Replace", "pattern": {"String": " "}, "content": "▁"})", " a b") == "▁a▁b");
  CHECK(normalize(R"({"type": "Replace", "pattern": {"Regex": " {2,}"}, "content": "_"})", "a   b c") ==
        "a_b c");
  CHECK(normalize(R"({"type": "Replace", "pattern": {"Regex": "x*"}, "content": "-"})", "axb") == "-a-b-");
  CHECK(normalize(R"({"type": "Replace", "pattern": {"String": ""}, "content": "x"})", "abc") == "xaxbxcx");
  CHECK(normalize(R"({"type": "Strip", "strip_left": true, "strip_right": false})", " \u00A0a ") == "a ");
  CHECK(normalize(R"({"type": "Strip"})", "  \n ") == "");
  CHECK(normalize(R"({"type": "ByteLevel"})", "é ") == "Ã©Ġ");
  CHECK(contains(message_of([] { normalize(R"({"type": "Replace", "content": ""})", "a"); }),
                 "no \"pattern\""));
  CHECK(contains(message_of([] { normalize(R"({"type": "Prepend"})", "a"); }), "no \"prepend\""));
}

TEST_CASE("tokenizer: Unigram takes the best path, unknown characters in a row are one") {
  ordered_json document = ordered_json::parse(R"({"model": {"type": "Unigram", "unk_id": 0, "vocab":
    [["<unk>", 0.0], ["a", -2.0], ["b", -2.0], ["ab", -3.0], ["abb", -8.0], ["bb", -2.5]]}})");
  CHECK(tokens(document, "abb") == "a bb");
  CHECK(tokens(document, "xyab") == "<unk> ab");
  document["model"].erase("unk_id");
  CHECK(contains(message_of([&] { tokens(document, "x"); }), "no unk_id"));
  document["model"]["unk_id"] = 9;
  CHECK(contains(message_of([&] { tokens(document, "x"); }), "outside the vocabulary"));
  document["model"]["vocab"][1] = "a";
  CHECK(contains(message_of([&] { tokens(document, "x"); }), "text and score"));
}

TEST_CASE("tokenizer: a long text without pre-tokenizer is cut where no merge reaches") {
  // x vanishes, and what stands around it is merged.
  CHECK(tokens(bpe(), "aaxa") == "aa a");
  CHECK(tokens(bpe(R"({"unk_token": "?", "fuse_unk": true})"), std::string(50, 'a') + std::string(50, 'x')) ==
        tokens(bpe(), std::string(50, 'a')) + " ?");
  std::string text, expected;
  for (int i = 0; i < 100; ++i) {
    text += "cab";
    expected += i == 0 ? "c" : " a bc";
  }
  expected += " ab";
  CHECK(tokens(bpe(), text) == expected);
}
