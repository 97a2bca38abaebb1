#include <nlohmann/json.hpp>

#include "d2dmoe/core/error.h"
#include "d2dmoe/tokenizer/bpe.h"
#include "d2dmoe/tokenizer/tokenizer_json.h"
#include "d2dmoe/tokenizer/wordpiece.h"
#include "support/support.h"

using namespace d2dmoe;
using namespace d2dmoe::test;

namespace {

std::string vocab_error(std::string_view text) {
  return message_of([&] { tokenizer::parse_wordpiece_vocab(text, "vocab.txt"); });
}

std::string json_error(const std::string& text) {
  return message_of([&] { tokenizer::parse_tokenizer_json(text, "tokenizer.json"); });
}

// A WordPiece tokenizer.json with this vocabulary and these added tokens.
std::string with_vocab(const std::string& vocab, const std::string& added = "[]") {
  return json_error(R"({"added_tokens": )" + added + R"(, "model": {"type": "WordPiece", "vocab": )" + vocab +
                    "}}");
}

std::string with_bpe(const std::string& merges, const std::string& more = "") {
  return json_error(R"({"model": {"type": "BPE", "vocab": {"a": 0, "b": 1, "ab": 2}, "merges": )" + merges +
                    more + "}}");
}

std::string byte_level_error(std::string_view vocab, std::string_view merges) {
  return message_of([&] { tokenizer::parse_byte_level_bpe(vocab, "vocab.json", merges, "merges.txt"); });
}

}  // namespace

TEST_CASE("vocab.txt: each way to break it") {
  CHECK(vocab_error("[UNK]\n[CLS]\n[SEP]\na\n") == "");
  CHECK(vocab_error("[UNK]\r\n[CLS]\r\n[SEP]") == "");
  CHECK(contains(vocab_error(""), "'vocab.txt': is empty"));
  CHECK(contains(vocab_error("\n\n"), "is empty"));
  CHECK(contains(vocab_error("a\n[CLS]\n[SEP]\n"), "no '[UNK]'"));
  CHECK(contains(vocab_error("[UNK]\n[SEP]\n"), "no '[CLS]'"));
  CHECK(contains(vocab_error("[UNK]\n[CLS]\n"), "no '[SEP]'"));
  CHECK(contains(vocab_error("[UNK]\na\nb\na\n"), "'a' stands twice, with the ids 1 and 3"));
  CHECK(contains(vocab_error("[UNK]\n\xFF\n"), "byte 6 (0xff) is not valid UTF-8"));
}

TEST_CASE("tokenizer.json: each way to break it") {
  CHECK(contains(json_error(""), "tokenizer.json"));
  CHECK(contains(json_error("{\"model\": "), "tokenizer.json"));
  CHECK(contains(json_error("[]"), "must be a JSON object"));
  CHECK(contains(json_error("{}"), "has no \"model\""));
  CHECK(contains(json_error(R"({"model": {"type": "WordPiece"}})"), "no \"vocab\""));
  CHECK(contains(json_error(R"({"model": {"type": 3}})"), "\"type\" is 3, must be a text"));
  CHECK(with_vocab(R"({"[UNK]": 0, "a": 1})") == "");
  CHECK(with_vocab(R"({"[UNK]": 0, "a": 5})") == "");  // holes are embedding rows without a token
  CHECK(contains(with_vocab("{}"), "vocabulary is empty"));
  CHECK(contains(with_vocab("[1]"), "must be an object"));
  CHECK(contains(with_vocab(R"({"a": 0})"), "no '[UNK]'"));
  CHECK(contains(with_vocab(R"({"[UNK]": 0, "a": 0})"), "'[UNK]' and 'a' have the same id 0"));
  CHECK(contains(with_vocab(R"({"[UNK]": 0, "a": 1, "a": 2})"), "twice"));
  CHECK(contains(with_vocab(R"({"[UNK]": 0, "a": -1})"), "id -1, must be between"));
  CHECK(contains(with_vocab(R"({"[UNK]": 0, "a": 1.5})"), "id 1.5, must be an integer"));
  CHECK(contains(with_vocab(R"({"[UNK]": 0, "a": "1"})"), "must be an integer"));
  CHECK(contains(with_vocab(R"({"[UNK]": 0, "a": 1000000000000})"), "id 1000000000000, must be between"));
  CHECK(contains(with_vocab(R"({"[UNK]": 0, "a": 18446744073709551615})"), "18446744073709551615"));
  CHECK(contains(with_vocab("{\"[UNK]\": 0, \"\xFF\": 1}"), "tokenizer.json"));
  CHECK(contains(json_error(R"({"model": {"vocab": {"[UNK]": 0}, "max_input_chars_per_word": -1}})"),
                 "negative"));
}

TEST_CASE("tokenizer.json: broken added tokens") {
  const std::string vocab = R"({"[UNK]": 0, "a": 1})";
  CHECK(with_vocab(vocab, R"([{"id": 2, "content": "<x>"}, {"id": 1, "content": "a"}])") == "");
  CHECK(contains(with_vocab(vocab, "{}"), "must be a list"));
  CHECK(contains(with_vocab(vocab, R"([{"id": 2}])"), "no \"content\""));
  CHECK(contains(with_vocab(vocab, R"([{"content": "<x>"}])"), "id -1"));
  CHECK(contains(with_vocab(vocab, R"([{"id": 0, "content": "a"}])"), "the vocabulary gives it 1"));
  CHECK(contains(with_vocab(vocab, R"([{"id": 1, "content": "<x>"}])"), "next free one is 2"));
  CHECK(contains(with_vocab(vocab, R"([{"id": 9, "content": "<x>"}])"), "next free one is 2"));
  CHECK(contains(with_vocab(vocab, R"([{"id": 2, "content": "<x>"}, {"id": 2, "content": "<y>"}])"),
                 "belongs to '<x>'"));
  CHECK(
      contains(with_vocab(vocab, R"([{"id": 2, "content": "<x>", "lstrip": 1}])"), "must be true or false"));
}

TEST_CASE("tokenizer.json: broken merges and post-processors") {
  CHECK(with_bpe(R"(["a b"])") == "");
  CHECK(with_bpe(R"([["a", "b"]])") == "");
  CHECK(contains(with_bpe("{}"), "no list \"merges\""));
  CHECK(contains(with_bpe(R"(["ab"])"), "must be two tokens"));
  CHECK(contains(with_bpe(R"(["a b c"])"), "must be two tokens"));
  CHECK(contains(with_bpe(R"([["a"]])"), "must be two tokens"));
  CHECK(contains(with_bpe(R"(["a x"])"), "needs the token 'x', which the vocabulary lacks"));
  CHECK(contains(with_bpe(R"(["b a"])"), "needs the token 'ba'"));
  CHECK(contains(with_bpe("[]", R"(, "unk_token": "?")"), "lacks the unk_token '?'"));
  CHECK(contains(with_bpe("[]", R"(, "dropout": 0.1)"), "dropout"));
  const auto processor = [](const std::string& json) {
    return json_error(R"({"model": {"vocab": {"[UNK]": 0}}, "post_processor": )" + json + "}");
  };
  CHECK(contains(processor(R"({"type": "BertProcessing", "cls": ["a", 0]})"), "\"sep\""));
  CHECK(contains(processor(R"({"type": "BertProcessing", "cls": ["a", 7], "sep": ["b", 0]})"), "id 7"));
  CHECK(contains(processor(R"({"type": "TemplateProcessing", "single": []})"), "\"pair\""));
  CHECK(contains(
      processor(R"({"type": "TemplateProcessing", "single": [{"SpecialToken": {"id": "x"}}], "pair": []})"),
      "'x' has no ids"));
  CHECK(contains(
      processor(R"({"type": "TemplateProcessing", "single": [{"Sequence": {"id": "C"}}], "pair": []})"),
      "must be A or B"));
}

TEST_CASE("vocab.json and merges.txt: each way to break them") {
  const char* vocab = R"({"<s>": 0, "</s>": 1, "a": 2, "b": 3, "ab": 4})";
  CHECK(byte_level_error(vocab, "#version: 0.2\na b\n") == "");
  CHECK(contains(byte_level_error(R"({"a": 0})", ""), "no '<s>'"));
  CHECK(contains(byte_level_error("[", ""), "vocab.json"));
  CHECK(contains(byte_level_error(vocab, "#version: 0.2\na b\nab\n"), "merges.txt:3"));
  CHECK(contains(byte_level_error(vocab, "a b x\n"), "must be two tokens"));
  CHECK(contains(byte_level_error(vocab, "a c\n"), "needs the token 'c'"));
  CHECK(contains(byte_level_error(vocab, "a \xFF\n"), "not valid UTF-8"));
}
