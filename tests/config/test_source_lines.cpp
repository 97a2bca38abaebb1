#include "d2dmoe/config/source_lines.h"

#include "support/support.h"

using d2dmoe::config::line_of;

TEST_CASE("source lines: keys of nested objects") {
  const std::string text = R"({
  "a": {"x": [1, {"lr": 2}], "lr": "}\"{",
    "b": {
      "lr": 1}},

  "l\u0072": true, "c": -1.5e3,
  "d": {}, "e": [[], [{}]],
  "z": null
})";
  CHECK(line_of(text, {"a"}) == 2);
  CHECK(line_of(text, {"a", "lr"}) == 2);
  CHECK(line_of(text, {"a", "b"}) == 3);
  CHECK(line_of(text, {"a", "b", "lr"}) == 4);
  CHECK(line_of(text, {"lr"}) == 6);
  CHECK(line_of(text, {"c"}) == 6);
  CHECK(line_of(text, {"z"}) == 8);
  CHECK(line_of("\xEF\xBB\xBF{\n\"a\": 1}", {"a"}) == 2);
}

TEST_CASE("source lines: 0 for what is not there, whatever the text") {
  CHECK(line_of("{\"a\": 1}", {"b"}) == 0);
  CHECK(line_of("{\"a\": 1}", {"a", "b"}) == 0);
  CHECK(line_of("[]", {"a"}) == 0);
  for (const char* text : {"", "{", "{\"", "{\"a", "{\"a\"", "{\"b\":", "{\"b\":}", "{\"b\":,", "{\"b\":[",
                           "{\"b\":[,", "{\"b\":\"\\", "{\"b\":::1", "{\"b\":]", "{\"\\u12\":1,"}) {
    CHECK(line_of(text, {"a", "x"}) == 0);
  }
}
