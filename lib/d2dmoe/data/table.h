#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>
#include <utility>
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

/// A column to read.
struct Column {
  Column(std::string column, bool must_be_text = true)
      : name(std::move(column)), text(must_be_text) {}  // NOLINT
  Column(const char* column) : name(column) {}          // NOLINT

  std::string name;  ///< from the header, a JSON key or, without a header, a number from 0
  bool text = true;  ///< jsonl: the value must be a text; false: a number, true or false will do as well
};

/// The chosen columns of a table, row by row.
struct Table {
  std::string origin;                          ///< file name
  std::vector<std::vector<std::string>> rows;  ///< fields in the order of the columns asked for
  std::vector<int64_t> lines;                  ///< line (from 1) on which each row starts
};

/// Reads the chosen columns of a CSV, TSV or JSONL text. Empty lines are skipped. With format auto, .jsonl,
/// .ndjson and .json are JSONL, .tsv, .tab and .txt prefer tabs, anything else commas.
/// @param text     the whole file; a byte order mark and CRLF ends are accepted
/// @param origin   its name: for error messages and, with format auto, for its ending
/// @param columns  what to read
/// @throws UsageError  column missing (nearest name told), bad separator or format
/// @throws Error       invalid UTF-8 (byte named), rows of unequal length, unterminated quote, bad JSON, a
/// value that
///                     is not text, number or true/false, no rows at all
Table parse_table(std::string_view text, const std::string& origin, const TableOptions& options,
                  const std::vector<Column>& columns);

/// parse_table on a file. @throws Error  also: the file cannot be read
Table read_table(const std::filesystem::path& file, const TableOptions& options,
                 const std::vector<Column>& columns);

}  // namespace d2dmoe::data
