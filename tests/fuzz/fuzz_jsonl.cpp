#include "d2dmoe/data/table.h"
#include "fuzz.h"

using namespace d2dmoe;

/// Input: a JSONL text. Every row that is read has the fields asked for.
extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  data::TableOptions options;
  options.format = "jsonl";
  fuzz::expect_answer([&] {
    const data::Table table = data::parse_table(fuzz::text_of(data, size), "fuzz.jsonl", options,
                                                {data::Column("text"), data::Column("label", false)});
    fuzz::require(!table.rows.empty() && table.rows.size() == table.lines.size());
    for (const auto& row : table.rows) fuzz::require(row.size() == 2);
  });
  return 0;
}
