#pragma once

#include <nlohmann/json.hpp>

#include "d2dmoe/data/table.h"

namespace d2dmoe::data {

/// parse_table for a text with one JSON object per line.
Table parse_jsonl(std::string_view text, const std::string& origin, const TableOptions& options,
                  const std::vector<Column>& columns);

/// One line's value of a column. @param place  what messages call the line
std::string parse_jsonl_line(std::string_view line, const std::string& place, const Column& column);
/// One line. @throws Error  it is no JSON object
nlohmann::ordered_json parse_jsonl_object(std::string_view line, const std::string& place);

}  // namespace d2dmoe::data
