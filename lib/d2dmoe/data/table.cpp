#include "d2dmoe/data/table.h"

#include <algorithm>
#include <charconv>

#include "d2dmoe/core/error.h"
#include "d2dmoe/data/delimited.h"
#include "d2dmoe/data/jsonl.h"
#include "d2dmoe/io/atomic_file.h"
#include "d2dmoe/io/json_file.h"
#include "d2dmoe/tokenizer/unicode.h"

namespace d2dmoe::data {
namespace {

void check_encoding(std::string_view text, const std::string& origin) {
  D2D_CHECK(!text.starts_with("\xFF\xFE") && !text.starts_with("\xFE\xFF"),
            "[data] '{}': is UTF-16, must be UTF-8. Hint: iconv -f UTF-16 -t UTF-8", origin);
  const size_t bad = tokenizer::unicode::find_invalid_utf8(text);
  if (bad == text.npos) return;
  const auto line = 1 + std::count(text.begin(), text.begin() + static_cast<std::ptrdiff_t>(bad), '\n');
  throw Error(
      format("[data] '{}:{}': byte {} of the file (0x{:02x}) is not valid UTF-8. Hint: convert the file to "
             "UTF-8, for example with iconv -f LATIN1 -t UTF-8",
             origin, line, bad, static_cast<unsigned>(static_cast<unsigned char>(text[bad]))));
}

std::string resolve_format(const std::string& format, const std::string& origin) {
  D2D_CHECK_USAGE(format == "auto" || format == "csv" || format == "tsv" || format == "jsonl",
                  "[data] 'format': got '{}', must be auto, csv, tsv or jsonl", io::printable(format));
  if (format != "auto") return format;
  std::string ending = std::filesystem::path(origin).extension().string();
  std::transform(ending.begin(), ending.end(), ending.begin(),
                 [](char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c; });
  if (ending == ".jsonl" || ending == ".ndjson" || ending == ".json") return "jsonl";
  // Not yet a decision for tabs: the first line decides.
  return ending == ".tsv" || ending == ".tab" || ending == ".txt" ? "prefer tab" : "csv";
}

std::vector<std::string> header_of(std::string_view text, const std::string& separator,
                                   const TableOptions& options, const std::string& origin) {
  const auto record = DelimitedReader(text, separator, options.quoting, origin).next();
  return record ? record->fields : std::vector<std::string>();
}

// The separator whose header holds all columns, else the one that the first line has most of.
std::string find_separator(std::string_view text, const std::string& origin, const TableOptions& options,
                           const std::string& format, const std::vector<Column>& columns) {
  if (!options.separator.empty()) {
    const std::string& separator = options.separator;
    D2D_CHECK_USAGE(tokenizer::unicode::find_invalid_utf8(separator) == separator.npos &&
                        tokenizer::unicode::length(separator) == 1 && separator != "\"" &&
                        separator != "\n" && separator != "\r",
                    "[data] 'separator': got '{}', must be one character, not a quote or line end",
                    io::printable(separator));
    return separator;
  }
  if (format == "tsv") return "\t";
  std::vector<std::string> candidates = {",", ";", "\t"};
  if (format == "prefer tab") candidates = {"\t", ",", ";"};
  if (options.header) {
    for (const std::string& candidate : candidates) {
      const auto header = header_of(text, candidate, options, origin);
      const bool all = std::all_of(columns.begin(), columns.end(), [&](const Column& column) {
        return std::find(header.begin(), header.end(), column.name) != header.end();
      });
      if (all) return candidate;
    }
  }
  const std::string_view line = text.substr(0, std::min(text.find('\n'), text.size()));
  const auto count = [&](const std::string& c) { return std::count(line.begin(), line.end(), c[0]); };
  if (!options.header && count(candidates[0]) > 0) return candidates[0];
  return *std::max_element(candidates.begin(), candidates.end(),
                           [&](const std::string& a, const std::string& b) { return count(a) < count(b); });
}

std::string quoted_list(const std::vector<std::string>& names) {
  constexpr size_t kMost = 20;
  std::string out;
  for (size_t i = 0; i < names.size() && i < kMost; ++i)
    out.append(out.empty() ? "'" : ", '").append(io::printable(names[i], 40)).append("'");
  return names.size() > kMost ? out + format(" … ({} in all)", names.size()) : out;
}

// A carriage return within a name: the file's lines end with nothing else.
std::string line_end_hint(const std::vector<std::string>& names) {
  const bool returns = std::any_of(names.begin(), names.end(),
                                   [](const std::string& name) { return name.find('\r') != name.npos; });
  return returns ? " Its lines end with a carriage return alone, as on old Macs: convert them, for example "
                   "with tr '\\r' '\\n'."
                 : "";
}

size_t find_by_name(const std::string& name, const std::vector<std::string>& header,
                    const std::string& origin, int64_t line, const std::string& separator) {
  const auto found = std::find(header.begin(), header.end(), name);
  if (found == header.end()) {
    const std::string near = nearest_word(name, header);
    const std::string shown = separator == "\t" ? "tab" : "'" + separator + "'";
    throw UsageError(
        format("[data] '{}:{}': no column '{}', must be one of {} (separator {}).{}{} Hint: check the column "
               "names and the separator in the config; without a header line set header to false",
               origin, line, io::printable(name), quoted_list(header), shown,
               near.empty() ? "" : " Did you mean '" + near + "'?", line_end_hint(header)));
  }
  D2D_CHECK_USAGE(std::find(found + 1, header.end(), name) == header.end(),
                  "[data] '{}:{}': the header has two columns '{}'", origin, line, io::printable(name));
  return static_cast<size_t>(found - header.begin());
}

size_t find_by_number(const std::string& name, const Record& first, const std::string& origin) {
  size_t number = 0;
  const auto [end, error] = std::from_chars(name.data(), name.data() + name.size(), number);
  D2D_CHECK_USAGE(error == std::errc() && end == name.data() + name.size() && !name.empty(),
                  "[data] '{}': column '{}', but the table has no header: must be a column number from 0",
                  origin, io::printable(name));
  D2D_CHECK_USAGE(number < first.fields.size(),
                  "[data] '{}:{}': no column {}, the row has {} fields (from 0)", origin, first.line, number,
                  first.fields.size());
  return number;
}

void check_width(const Record& record, size_t width, const std::string& origin,
                 const std::string& separator) {
  D2D_CHECK(
      record.fields.size() == width,
      "[data] '{}:{}': the row has {} fields, must have {} as the first line. Hint: a text that holds the "
      "separator ({}) has to stand in quotes",
      origin, record.line, record.fields.size(), width, separator == "\t" ? "tab" : separator);
}

Table parse_delimited(std::string_view text, const std::string& origin, const TableOptions& options,
                      const std::string& format, const std::vector<Column>& columns) {
  const std::string separator = find_separator(text, origin, options, format, columns);
  DelimitedReader reader(text, separator, options.quoting, origin);
  auto record = reader.next();
  D2D_CHECK(record, "[data] '{}': is empty, must be a table", origin);
  const size_t width = record->fields.size();
  std::vector<size_t> places;
  for (const Column& column : columns) {
    places.push_back(options.header
                         ? find_by_name(column.name, record->fields, origin, record->line, separator)
                         : find_by_number(column.name, *record, origin));
  }
  if (options.header) record = reader.next();
  D2D_CHECK(record, "[data] '{}': has a header line but no rows", origin);
  Table table{origin, {}, {}};
  for (; record; record = reader.next()) {
    check_width(*record, width, origin, separator);
    std::vector<std::string>& row = table.rows.emplace_back();
    for (const size_t place : places) row.push_back(record->fields[place]);
    table.lines.push_back(record->line);
    if (options.limit > 0 && static_cast<int64_t>(table.rows.size()) >= options.limit) break;
  }
  return table;
}

}  // namespace

Table parse_table(std::string_view text, const std::string& origin, const TableOptions& options,
                  const std::vector<Column>& columns) {
  check_encoding(text, origin);
  if (text.starts_with("\xEF\xBB\xBF")) text.remove_prefix(3);
  const std::string format = resolve_format(options.format, origin);
  return format == "jsonl" ? parse_jsonl(text, origin, options, columns)
                           : parse_delimited(text, origin, options, format, columns);
}

Table read_table(const std::filesystem::path& file, const TableOptions& options,
                 const std::vector<Column>& columns) {
  D2D_CHECK_USAGE(std::filesystem::exists(file), "[data] '{}': no such file", file);
  return parse_table(io::read_file(file), file.string(), options, columns);
}

}  // namespace d2dmoe::data
