#include "d2dmoe/data/table.h"
#include "fuzz.h"

using namespace d2dmoe;

/// Input: one byte of options, then a CSV or TSV text. Every row that is read has the fields asked for.
extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size == 0) return 0;
  data::TableOptions options;
  options.format = (data[0] & 1) != 0 ? "tsv" : "csv";
  options.header = (data[0] & 2) == 0;
  options.quoting = (data[0] & 4) == 0;
  options.separator = (data[0] & 8) != 0 ? ";" : "";
  options.limit = (data[0] & 16) != 0 ? 1 : 0;
  const std::vector<data::Column> columns =
      options.header ? std::vector<data::Column>{"text", "label"} : std::vector<data::Column>{"0", "1"};
  fuzz::expect_answer([&] {
    const data::Table table =
        data::parse_table(fuzz::text_of(data + 1, size - 1), "fuzz.csv", options, columns);
    fuzz::require(!table.rows.empty() && table.rows.size() == table.lines.size());
    for (const auto& row : table.rows) fuzz::require(row.size() == 2);
  });
  return 0;
}
