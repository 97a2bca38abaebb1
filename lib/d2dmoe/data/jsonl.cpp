#include "d2dmoe/data/jsonl.h"

#include <algorithm>

#include "d2dmoe/core/error.h"
#include "d2dmoe/io/json_file.h"

namespace d2dmoe::data {
namespace {

using Json = nlohmann::ordered_json;

// parse_json with the line of the whole file in its message.
Json parse_line(std::string_view line, const std::string& place) {
  try {
    return io::parse_json(line, place);
  } catch (const Error& error) {
    std::string message = error.what();
    const std::string local = place + ":1:";  // the line within the line
    if (const size_t at = message.find(local); at != message.npos)
      message.replace(at, local.size(), place + ":");
    throw Error(message);
  }
}

std::string value_of(const Json& object, const Column& column, const std::string& place) {
  const auto found = object.find(column.name);
  if (found == object.end()) {
    std::vector<std::string> keys;
    for (const auto& item : object.items()) keys.push_back(item.key());
    const std::string near = nearest_word(column.name, keys);
    throw UsageError(format("[data] '{}': the object has no key '{}'.{}", place, io::printable(column.name),
                            near.empty() ? " Hint: check the column names in the config"
                                         : " Hint: did you mean '" + io::printable(near) + "'?"));
  }
  if (found->is_string()) return found->get<std::string>();
  const bool scalar = found->is_boolean() || found->is_number();
  D2D_CHECK(scalar && !column.text, "[data] '{}': \"{}\" is {}, must be a text{}", place,
            io::printable(column.name), io::printable(found->dump(), 60),
            column.text ? "" : ", a number, true or false");
  return found->dump();
}

}  // namespace

Json parse_jsonl_object(std::string_view line, const std::string& place) {
  Json object = parse_line(line, place);
  D2D_CHECK(object.is_object(),
            "[data] '{}': the line is {}, must be a JSON object. Hint: JSONL has one object per line", place,
            io::printable(object.dump(), 60));
  return object;
}

std::string parse_jsonl_line(std::string_view line, const std::string& place, const Column& column) {
  return value_of(parse_jsonl_object(line, place), column, place);
}

Table parse_jsonl(std::string_view text, const std::string& origin, const TableOptions& options,
                  const std::vector<Column>& columns) {
  Table table{origin, {}, {}};
  int64_t number = 1;
  for (size_t start = 0; start < text.size(); ++number) {
    const size_t end = std::min(text.find('\n', start), text.size());
    const std::string_view line = text.substr(start, end - start);
    start = end + 1;
    if (line.find_first_not_of(" \t\r") == line.npos) continue;
    const std::string place = format("{}:{}", origin, number);
    const Json object = parse_jsonl_object(line, place);
    std::vector<std::string>& row = table.rows.emplace_back();
    for (const Column& column : columns) row.push_back(value_of(object, column, place));
    table.lines.push_back(number);
    if (options.limit > 0 && static_cast<int64_t>(table.rows.size()) >= options.limit) break;
  }
  D2D_CHECK(!table.rows.empty(), "[data] '{}': is empty, must have one JSON object per line", origin);
  return table;
}

}  // namespace d2dmoe::data
