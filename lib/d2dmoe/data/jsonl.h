#pragma once

#include "d2dmoe/data/table.h"

namespace d2dmoe::data {

/// parse_table for a text with one JSON object per line.
Table parse_jsonl(std::string_view text, const std::string& origin, const TableOptions& options,
                  const std::vector<Column>& columns);

}  // namespace d2dmoe::data
