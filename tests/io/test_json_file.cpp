#include "d2dmoe/core/error.h"
#include "d2dmoe/io/atomic_file.h"
#include "d2dmoe/io/json_file.h"
#include "support/support.h"

using namespace d2dmoe;
using namespace d2dmoe::test;

namespace {

std::string parse_error_of(const std::string& text) {
  return message_of([&] { io::parse_json(text, "x.json"); });
}

}  // namespace

TEST_CASE("json: values and the order of keys are kept", "[io]") {
  const auto json = io::parse_json(
      "\xEF\xBB\xBF{\"z\": [1, -2, 1.5e3, true, false, null, \"\\u00e9\\ud83d\\ude42\"], \"a\": {}, \"m\": "
      "[]}\n",
      "x");
  CHECK(json.dump() == "{\"z\":[1,-2,1500.0,true,false,null,\"é🙂\"],\"a\":{},\"m\":[]}");
  CHECK(io::parse_json(" 7 ", "x") == 7);
  CHECK(io::parse_json("18446744073709551615", "x").get<uint64_t>() == UINT64_MAX);
}

TEST_CASE("json: errors carry file, line and column", "[io]") {
  CHECK(contains(parse_error_of("{\n  \"a\": 1,\n  \"b\": }\n"), "[json] 'x.json:3:8': syntax error"));
  CHECK(contains(parse_error_of("{\"a\": 1"), "[json] 'x.json:1:8': syntax error"));
  CHECK(contains(parse_error_of("{} x"), "x.json:1:4"));
  CHECK(contains(parse_error_of("[1e999]"), "number overflow"));
  CHECK(contains(parse_error_of("[1,]"), "x.json:1:4"));
  CHECK(contains(parse_error_of("[NaN]"), "x.json:1:2"));
}

TEST_CASE("json: a key that stands twice is refused where it stands", "[io]") {
  CHECK(parse_error_of("{\"a\": 1,\n \"b\": 2, \"a\": 3}") ==
        "[json] 'x.json:2:10': the key \"a\" stands twice in one object");
  CHECK(contains(parse_error_of("{\"q\\\"\": 1, \"q\\\"\": 2}"), "'x.json:1:12': the key \"q\"\""));
  CHECK(contains(parse_error_of("{\"\": 1, \"\": 2}"), "x.json:1:9"));
  CHECK(parse_error_of("{\"a\": {\"a\": [{\"a\": 1}, {\"a\": 2}]}}") == "");
}

TEST_CASE("json: empty, cut, binary and wrongly encoded texts are refused", "[io]") {
  CHECK(parse_error_of("") == "[json] 'x.json': is empty, must hold a JSON value");
  CHECK(contains(parse_error_of("\xEF\xBB\xBF \n"), "is empty"));
  CHECK(contains(parse_error_of(std::string("{}\0{}", 5)), "'x.json:1:3': holds a zero byte"));
  CHECK(contains(parse_error_of("\xFF\xFE{\0}\0"), "UTF-16"));
  for (const char* bad :
       {"\"\xFF\"", "\"\xC0\x80\"", "\"\xED\xA0\x80\"", "\"\xE2\x82\"", "\"\\ud800\"", "\xFF"}) {
    const std::string message = parse_error_of(bad);
    CHECK(contains(message, "[json] 'x.json:1:"));
    CHECK(message.find('\xFF') == message.npos);  // messages are valid UTF-8
  }
}

TEST_CASE("json: deep nesting is refused, not followed", "[io]") {
  CHECK(parse_error_of(std::string(256, '[') + std::string(256, ']')) == "");
  CHECK(contains(parse_error_of(std::string(257, '[') + std::string(257, ']')),
                 "nested more than 256 levels deep"));
  std::string objects;
  for (int i = 0; i < 1'000'000; ++i) objects += "{\"a\":";
  CHECK(contains(parse_error_of(objects), "nested more than 256"));
}

TEST_CASE("json: a large object is read in linear time", "[io]") {
  std::string text = "{\"first\":0";
  for (int i = 0; i < 200'000; ++i) text += ",\"key number " + std::to_string(i) + "\":" + std::to_string(i);
  const auto json = io::parse_json(text + "}", "x");  // quadratic: half a minute
  CHECK(json.size() == 200'001);
  CHECK(json.back() == 199'999);
}

TEST_CASE("json: messages stay short and printable", "[io]") {
  CHECK(parse_error_of(std::string(1'000'000, '"')).size() < 400);
  CHECK(io::printable("a\nb\x7F\xC3\xA9\xC3") == "a?b?é?");
  CHECK(io::printable("éééé", 5) == "éé…");
}

TEST_CASE("json: a file is named in the message", "[io]") {
  TempDir dir;
  io::write_file(dir / "c.json", "{\"a\" 1}");
  CHECK(
      contains(message_of([&] { io::read_json_file(dir / "c.json"); }), (dir / "c.json").string() + ":1:6"));
  CHECK(contains(message_of([&] { io::read_json_file(dir / "none.json"); }),
                 "none.json': cannot read: no such file"));
}
