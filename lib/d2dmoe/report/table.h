#pragma once

#include <string>
#include <vector>

namespace d2dmoe::report {

struct Column {
  std::string name;
  bool number = true;  ///< aligned to the right
};

/// A table of texts, written for spreadsheets, for Markdown or for a page.
class Table {
 public:
  explicit Table(std::vector<Column> columns) : columns_(std::move(columns)) {}
  /// @throws Error  not one cell per column
  void add_row(std::vector<std::string> cells);
  bool empty() const { return rows_.empty(); }

  /// RFC 4180, lines ended by \n.
  std::string csv() const;
  /// GitHub Markdown with aligned columns.
  std::string markdown() const;
  /// <table> in a box that scrolls sideways.
  std::string html() const;

 private:
  std::vector<Column> columns_;
  std::vector<std::vector<std::string>> rows_;
};

}  // namespace d2dmoe::report
