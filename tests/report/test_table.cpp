#include "d2dmoe/report/table.h"

#include "d2dmoe/core/error.h"
#include "support/support.h"

using d2dmoe::report::Table;

TEST_CASE("table: CSV quotes what needs quotes") {
  Table table({{"name", false}, {"value"}});
  table.add_row({"a,b", "1"});
  table.add_row({"say \"x\"\n", ""});
  CHECK(table.csv() == "name,value\n\"a,b\",1\n\"say \"\"x\"\"\n\",\n");
}

TEST_CASE("table: Markdown is aligned, by characters and not by bytes") {
  Table table({{"n", false}, {"value"}});
  table.add_row({"é|x", "1"});
  CHECK(table.markdown() ==
        "| n    | value |\n"
        "| ---- | ----: |\n"
        "| é\\|x |     1 |\n");
}

TEST_CASE("table: HTML is escaped; a row of another length is refused") {
  Table table({{"<b>", false}});
  CHECK(table.empty());
  table.add_row({"&"});
  CHECK(d2dmoe::test::contains(table.html(), "<th>&lt;b&gt;</th>"));
  CHECK(d2dmoe::test::contains(table.html(), "<td>&amp;</td>"));
  CHECK_THROWS_AS(table.add_row({"1", "2"}), d2dmoe::Error);
}
