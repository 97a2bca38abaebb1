#include "d2dmoe/core/error.h"
#include "d2dmoe/data/table.h"
#include "d2dmoe/io/atomic_file.h"
#include "support/support.h"

using namespace d2dmoe;
using namespace d2dmoe::test;
using data::Column;
using data::parse_table;
using data::Table;
using data::TableOptions;

namespace {

using Rows = std::vector<std::vector<std::string>>;
const std::vector<Column> kColumns = {"text", Column("label", false)};

Table parse(std::string_view text, const char* origin = "x.csv", const TableOptions& options = {},
            const std::vector<Column>& columns = kColumns) {
  return parse_table(text, origin, options, columns);
}

std::string error_of(std::string_view text, const char* origin = "x.csv", const TableOptions& options = {},
                     const std::vector<Column>& columns = kColumns) {
  return message_of([&] { parse(text, origin, options, columns); });
}

}  // namespace

TEST_CASE("table: quotes, line ends and byte order mark") {
  const auto table = parse(
      "\xEF\xBB\xBFid,label,text\r\n1,joy,\"a, \"\"b\"\"\nc\"\r\n\r\n2,\"\",d \"e\" f\r\n3,x,\n4,y,\"\"");
  CHECK(table.rows == Rows{{"a, \"b\"\nc", "joy"}, {"d \"e\" f", ""}, {"", "x"}, {"", "y"}});
  CHECK(table.lines == std::vector<int64_t>{2, 5, 6, 7});
}

TEST_CASE("table: quoting off") {
  TableOptions options;
  options.quoting = false;
  const auto table = parse("text\tlabel\n\"a\" b\t1\n\"c\t0\n", "x.tsv", options);
  CHECK(table.rows == Rows{{"\"a\" b", "1"}, {"\"c", "0"}});
}

TEST_CASE("table: the separator is found") {
  CHECK(parse("text;label\na, b;x\n", "x.txt").rows == Rows{{"a, b", "x"}});
  CHECK(parse("text\tlabel\na, b;c\tx\n", "x.txt").rows == Rows{{"a, b;c", "x"}});
  CHECK(parse("text\tlabel\na\tx\n", "x.csv").rows == Rows{{"a", "x"}});
  CHECK(parse("label,text\nx,a;b\n", "noending").rows == Rows{{"a;b", "x"}});
  TableOptions no_header;
  no_header.header = false;
  CHECK(parse("a, b; c\tx\n", "x.tsv", no_header, {"0", "1"}).rows == Rows{{"a, b; c", "x"}});
  CHECK(parse("a; b,x\n", "x.csv", no_header, {"1", "0"}).rows == Rows{{"x", "a; b"}});
  CHECK(parse("a;x\n", "x.txt", no_header, {"0", "1"}).rows == Rows{{"a", "x"}});
}

TEST_CASE("table: a separator of one's own") {
  TableOptions options;
  options.separator = "|";
  CHECK(parse("text|label\na,b|x\n", "x.csv", options).rows == Rows{{"a,b", "x"}});
  options.separator = "¦";
  CHECK(parse("text¦label\na\xC2\xA7 b¦x\n", "x.csv", options).rows == Rows{{"a§ b", "x"}});
  options.separator = std::string("\t");
  CHECK(parse("text\tlabel\na\tx\n", "x.csv", options).rows == Rows{{"a", "x"}});
  for (const char* bad : {"ab", "\"", "\n", "tab"}) {
    options.separator = bad;
    CHECK(contains(error_of("text,label\na,x\n", "x.csv", options), "must be one character"));
  }
}

TEST_CASE("table: limit") {
  TableOptions options;
  options.limit = 2;
  CHECK(parse("text,label\na,1\nb,2\nc,3\n", "x.csv", options).rows.size() == 2);
  CHECK(parse("{\"text\":\"a\",\"label\":1}\n{\"text\":\"b\",\"label\":1}\nbroken", "x.jsonl", options)
            .rows.size() == 2);
}

TEST_CASE("table: columns that are not there") {
  const auto message = error_of("txet,label\na,x\n");
  CHECK(contains(message, "'x.csv:1'"));
  CHECK(contains(message, "no column 'text'"));
  CHECK(contains(message, "'txet', 'label'"));
  CHECK(contains(message, "Did you mean 'txet'?"));
  CHECK_THROWS_AS(parse("txet,label\na,x\n"), UsageError);
  std::string returns = "txet,label\r";  // one line, as far as anybody can tell
  for (int i = 0; i < 1000; ++i) returns += "a,x\r";
  const auto of_returns = error_of(returns);
  CHECK(contains(of_returns, "(1002 in all)"));
  CHECK(contains(of_returns, "carriage return alone"));
  CHECK(of_returns.size() < 1000);
  CHECK(contains(error_of("text,label,text\na,x,b\n"), "two columns 'text'"));
  TableOptions no_header;
  no_header.header = false;
  CHECK(contains(error_of("a,x\n", "x.csv", no_header), "must be a column number"));
  CHECK(contains(error_of("a,x\n", "x.csv", no_header, {"0", "2"}), "no column 2, the row has 2 fields"));
  CHECK(contains(error_of("a,x\n", "x.csv", no_header, {"-1"}), "must be a column number"));
}

TEST_CASE("table: each way to break a delimited file") {
  CHECK(contains(error_of(""), "'x.csv': is empty"));
  CHECK(contains(error_of("\n\r\n"), "is empty"));
  CHECK(contains(error_of("text,label\n"), "has a header line but no rows"));
  CHECK(contains(error_of("text,label\na,x\nb\n"), "'x.csv:3': the row has 1 fields, must have 2"));
  CHECK(contains(error_of("text,label\na,x,y\n"), "'x.csv:2': the row has 3 fields"));
  CHECK(contains(error_of("text,label\na,x\n\"b,x\nc,y\n"),
                 "'x.csv:3': the quote that opens here is not closed"));
  CHECK(contains(error_of("text,label\n\"a\nb\"c,x\n"), "'x.csv:3': there is text behind the closing quote"));
  CHECK(contains(error_of("text,label\n\"a\nb\"c,x\n"), "starts on line 2"));
  CHECK(contains(error_of("text,label\nabc\xE9,x\n"),
                 "'x.csv:2': byte 14 of the file (0xe9) is not valid UTF-8"));
  CHECK(contains(error_of(std::string_view("\xFF\xFEt\0e\0", 6)), "is UTF-16"));
  TableOptions options;
  options.format = "xml";
  CHECK(contains(error_of("a", "x.csv", options), "must be auto, csv, tsv or jsonl"));
}

TEST_CASE("table: JSONL") {
  const auto table = parse(
      "{\"text\": \"a\\nb\", \"label\": 1}\r\n\n{\"label\": true, \"text\": \"\\u00e9\"}\n"
      "{\"text\": \"c\", \"label\": 0.5}\n{\"text\": \"d\", \"label\": \"joy\"}",
      "x.jsonl");
  CHECK(table.rows == Rows{{"a\nb", "1"}, {"é", "true"}, {"c", "0.5"}, {"d", "joy"}});
  CHECK(table.lines == std::vector<int64_t>{1, 3, 4, 5});
}

TEST_CASE("table: each way to break a JSONL file") {
  const std::string good = "{\"text\": \"a\", \"label\": 1}\n";
  CHECK(contains(error_of("", "x.jsonl"), "is empty"));
  CHECK(contains(error_of("\n \n", "x.jsonl"), "is empty"));
  CHECK(contains(error_of(good + "{\"text\": ", "x.jsonl"), "x.jsonl:2:"));
  CHECK(!contains(error_of(good + "{\"text\": ", "x.jsonl"), "x.jsonl:2:1:"));
  CHECK(contains(error_of(good + "{\"txt\": \"a\", \"label\": 1}", "x.jsonl"),
                 "'x.jsonl:2': the object has no key 'text'"));
  CHECK(contains(error_of(good + "{\"txt\": \"a\", \"label\": 1}", "x.jsonl"), "did you mean 'txt'"));
  CHECK(contains(error_of("{\"text\": 5, \"label\": 1}", "x.jsonl"), "\"text\" is 5, must be a text"));
  CHECK(contains(error_of("{\"text\": null, \"label\": 1}", "x.jsonl"), "\"text\" is null"));
  CHECK(contains(error_of("{\"text\": \"a\", \"label\": [1]}", "x.jsonl"), "\"label\" is [1]"));
  CHECK(contains(error_of("[" + good + "]", "x.jsonl"), "x.jsonl:1"));
  CHECK(contains(error_of("3\n", "x.jsonl"), "must be a JSON object"));
  CHECK(contains(error_of("{\"text\": \"\xFF\"}", "x.jsonl"), "not valid UTF-8"));
}

TEST_CASE("table: files") {
  TempDir dir;
  io::write_file(dir / "a.tsv", "text\tlabel\na\tx\n");
  CHECK(data::read_table(dir / "a.tsv", {}, kColumns).rows == Rows{{"a", "x"}});
  CHECK(contains(message_of([&] { data::read_table(dir / "b.tsv", {}, kColumns); }), "b.tsv': no such file"));
  const auto carer = data::read_table("data/emotion/train.txt", {}, {"text", "label_name"});
  CHECK(carer.rows.size() == 16000);
  CHECK(carer.rows[0] == std::vector<std::string>{"i didnt feel humiliated", "sadness"});
}
