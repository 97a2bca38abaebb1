#include <nlohmann/json.hpp>

#include "d2dmoe/io/json_file.h"
#include "d2dmoe/tokenizer/components.h"
#include "d2dmoe/tokenizer/tokenizer_json.h"
#include "d2dmoe/tokenizer/utf8_stream.h"
#include "support/support.h"

using namespace d2dmoe;
using namespace d2dmoe::test;

namespace {

using Tokens = std::vector<std::string>;

std::string decoded(const std::string& json, const Tokens& tokens) {
  const std::string origin = "t.json";
  const tokenizer::Overrides overrides;
  const auto decoder = tokenizer::make_decoder(tokenizer::Json::parse(json), {origin, overrides});
  const auto run = decoder->start(false);
  std::string out;
  const auto sink = [&](std::string text) { out += text; };
  for (const std::string& token : tokens) run->push(token, sink);
  run->finish(sink);
  return out;
}

std::string decoders(const char* steps) {
  return std::string(R"({"type": "Sequence", "decoders": [)") + steps + "]}";
}

}  // namespace

// The expected values come from tokenizers 0.23.3.
TEST_CASE("decoder: WordPiece, BPE and Metaspace") {
  const char* wordpiece = R"({"type": "WordPiece", "prefix": "##", "cleanup": true})";
  CHECK(decoded(wordpiece, {"a", "##b", "c"}) == "ab c");
  CHECK(decoded(wordpiece, {"##a", "##b"}) == "##ab");
  CHECK(decoded(wordpiece, {"do", "n", "'", "t"}) == "do n ' t");
  CHECK(decoded(wordpiece, {"i", "'m", "##.", ".", "!"}) == "i'm..!");
  CHECK(decoded(wordpiece, {}) == "");
  const char* bpe = R"({"type": "BPEDecoder", "suffix": "</w>"})";
  CHECK(decoded(bpe, {"a</w>", "b", "c</w>"}) == "a bc");
  CHECK(decoded(bpe, {"</w></w>", "x</w>"}) == "  x");
  CHECK(decoded(R"({"type": "Metaspace"})", {"▁a▁b", "▁c"}) == "ab c");
  CHECK(decoded(R"({"type": "Metaspace", "prepend_scheme": "never"})", {"▁a▁b", "▁c"}) == " a b c");
}

TEST_CASE("decoder: bytes") {
  const char* fallback = R"({"type": "ByteFallback"})";
  CHECK(decoded(fallback, {"<0xC3>", "<0xA9>"}) == "é");
  CHECK(decoded(fallback, {"<0xC3>", "a", "<0xA9>"}) == "\uFFFDa\uFFFD");
  CHECK(decoded(fallback, {"<0x41>", "<0xFF>", "b"}) == "\uFFFD\uFFFDb");  // the run is bad as a whole
  CHECK(decoded(fallback, {"<0x4>"}) == "<0x4>");
  CHECK(decoded(fallback, {"<0x+1>"}) == "\x01");
  const char* bytes = R"({"type": "ByteLevel"})";
  CHECK(decoded(bytes, {"Ġa", "Ã"}) == " a\uFFFD");
  CHECK(decoded(bytes, {"<s>", "中"}) == "<s>中");
  CHECK(decoded(bytes, {"Ã", "Ã©", "é"}) == "\uFFFDé\uFFFD");
  CHECK(decoded(bytes, {"ðŁĺ"}) == "\uFFFD");
  CHECK(decoded(bytes, {"ðŁ", "a b", "ĺ"}) == "\uFFFDa b\uFFFD");
}

TEST_CASE("decoder: Strip and Replace, token by token and after Fuse") {
  const char* strip = R"({"type": "Strip", "content": " ", "start": 2, "stop": 1})";
  CHECK(decoded(strip, {"   a  ", "  b"}) == " a b");
  CHECK(decoded(strip, {"  x "}) == "x");
  const char* fuse = R"({"type": "Fuse"}, )";
  CHECK(decoded(decoders((std::string(fuse) + strip).c_str()), {" ", " ", " a", " ", " "}) == " a ");
  CHECK(decoded(decoders((std::string(fuse) + strip).c_str()), {" ", " ", " "}) == "");
  const char* replace = R"({"type": "Replace", "pattern": {"String": "aab"}, "content": "x"})";
  CHECK(decoded(replace, {"a", "aabaab", "ab"}) == "axxab");
  CHECK(decoded(decoders((std::string(fuse) + replace).c_str()), {"a", "aa", "b", "aa", "b", "a"}) == "axxa");
  const char* regex = R"({"type": "Replace", "pattern": {"Regex": "a+"}, "content": "x"})";
  CHECK(decoded(regex, {"aa", "a"}) == "xx");
  CHECK(decoded(decoders((std::string(fuse) + regex).c_str()), {"aa", "a"}) == "x");
  const char* wordpiece = R"({"type": "WordPiece"})";
  CHECK(decoded(decoders((std::string(fuse) + wordpiece).c_str()), {"a", ".", "##b", " ."}) == "a.##b.");
}

TEST_CASE("decoder: without one, tokens stand with a blank between them") {
  const auto t = tokenizer::parse_tokenizer_json(
      R"({"model": {"type": "BPE", "vocab": {"a": 0, "b": 1}, "merges": []}})", "t.json");
  CHECK(t->decode({0, 1, 7, 0, -1}, true) == "a b a");
}

TEST_CASE("decoder: a stream holds back what is not certain") {
  const auto t = tokenizer::parse_tokenizer_json(
      R"({"model": {"type": "BPE", "vocab": {"ðŁ": 0, "ĺ": 1, "Ģ": 2, "Ġa": 3}, "merges": []},
          "decoder": {"type": "ByteLevel"}})",
      "t.json");
  const auto stream = t->start_decoding(true);
  CHECK(stream->push(3) == " a");
  CHECK(stream->push(0) == "");
  CHECK(stream->push(1) == "");
  CHECK(stream->push(2) == "😀");
  CHECK(stream->push(0) == "");
  CHECK(stream->push(3) == "\uFFFD a");
  CHECK(stream->push(0) == "");
  CHECK(stream->finish() == "\uFFFD");
}

TEST_CASE("decoder: a stream of byte-fallback tokens gives a character out when the run ends") {
  const auto t = tokenizer::parse_tokenizer_json(
      R"({"model": {"type": "BPE", "vocab": {"▁a": 0, "<0xC3>": 1, "<0xA9>": 2}, "merges": []},
          "decoder": {"type": "Sequence", "decoders": [{"type": "Replace", "pattern": {"String": "▁"}, "content": " "},
            {"type": "ByteFallback"}, {"type": "Fuse"}, {"type": "Strip", "content": " ", "start": 1, "stop": 0}]}})",
      "t.json");
  const auto stream = t->start_decoding(true);
  CHECK(stream->push(0) == "a");
  CHECK(stream->push(1) == "");
  CHECK(stream->push(2) == "");
  CHECK(stream->push(0) == "é a");
  CHECK(stream->push(1) == "");
  CHECK(stream->finish() == "\uFFFD");
}

TEST_CASE("UTF-8 stream: invalid bytes, cut anywhere, are what Rust and sentencepiece make of them") {
  using Stream = tokenizer::Utf8Stream;
  const std::string bytes = "a\xE2\x82\x41\xF0\x9F\x98\x80\xC0\xED\xA0\x80\xF0\x9F";
  const std::string lossy = "a\uFFFDA😀\uFFFD\uFFFD\uFFFD\uFFFD\uFFFD",
                    single = "a\uFFFD\uFFFDA😀\uFFFD\uFFFD\uFFFD\uFFFD\uFFFD\uFFFD";
  for (const size_t width : {1, 2, 3, 5, 100}) {
    for (const auto& [replace, expected] :
         {std::pair{Stream::Replace::each_beginning, lossy}, std::pair{Stream::Replace::each_byte, single}}) {
      Stream stream(replace);
      std::string out;
      for (size_t i = 0; i < bytes.size(); i += width)
        out += stream.push(std::string_view(bytes).substr(i, width));
      CHECK(out + stream.finish() == expected);
    }
  }
}
