#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

namespace d2dmoe::data {

/// How a table of texts is written.
struct TableOptions {
  std::string format = "auto";  ///< csv, tsv, jsonl; auto = by the file's ending
  std::string
      separator;       ///< one character; empty = tab for tsv, else the one of , ; tab the header has most of
  bool header = true;  ///< csv, tsv: the first line names the columns
  bool quoting = true;  ///< csv, tsv: RFC 4180 quotes
  int64_t limit = 0;    ///< read only the first rows; 0 = all
};

/// The chosen columns of a table, row by row.
struct Table {
  std::string origin;                          ///< file name
  std::vector<std::vector<std::string>> rows;  ///< fields in the order of the columns asked for
  std::vector<int64_t> lines;                  ///< line (from 1) on which each row starts
};

/// Reads the chosen columns of a CSV, TSV or JSONL text. Empty lines are skipped.
/// @param text     the whole file; a byte order mark and CRLF ends are accepted
/// @param origin   its name: for error messages and, with format auto, for its ending
/// @param columns  names (header, JSON keys) or, without a header, numbers from 0
/// @throws UsageError  column missing (nearest name told), bad separator or format
/// @throws Error       invalid UTF-8 (byte named), rows of unequal length, unterminated quote, bad JSON, a
/// value that
///                     is not text, number or true/false, no rows at all
Table parse_table(std::string_view text, const std::string& origin, const TableOptions& options,
                  const std::vector<std::string>& columns);

/// parse_table on a file. @throws Error  also: the file cannot be read
Table read_table(const std::filesystem::path& file, const TableOptions& options,
                 const std::vector<std::string>& columns);

}  // namespace d2dmoe::data
