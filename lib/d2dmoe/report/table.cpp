#include "d2dmoe/report/table.h"

#include <algorithm>

#include "d2dmoe/core/error.h"
#include "d2dmoe/report/svg_canvas.h"

namespace d2dmoe::report {
namespace {

std::string csv_cell(const std::string& text) {
  if (text.find_first_of(",\"\r\n") == text.npos) return text;
  std::string out = "\"";
  for (const char c : text) {
    if (c == '"') out += '"';
    out += c;
  }
  return out + '"';
}

std::string markdown_cell(const std::string& text) {
  std::string out;
  for (const char c : text) {
    if (c == '|' || c == '\\') out += '\\';
    out += c == '\n' || c == '\r' ? ' ' : c;
  }
  return out;
}

/// Characters of UTF-8 text.
size_t columns_of(const std::string& text) {
  return static_cast<size_t>(std::count_if(
      text.begin(), text.end(), [](char c) { return (static_cast<unsigned char>(c) & 0xC0) != 0x80; }));
}

}  // namespace

void Table::add_row(std::vector<std::string> cells) {
  D2D_CHECK(cells.size() == columns_.size(), "[table] a row of {} cells, must have {}", cells.size(),
            columns_.size());
  rows_.push_back(std::move(cells));
}

std::string Table::csv() const {
  std::string out;
  for (size_t c = 0; c < columns_.size(); ++c) out += (c ? "," : "") + csv_cell(columns_[c].name);
  out += '\n';
  for (const auto& row : rows_) {
    for (size_t c = 0; c < row.size(); ++c) out += (c ? "," : "") + csv_cell(row[c]);
    out += '\n';
  }
  return out;
}

std::string Table::markdown() const {
  std::vector<size_t> widths;
  for (size_t c = 0; c < columns_.size(); ++c) {
    size_t width = std::max<size_t>(3, columns_of(markdown_cell(columns_[c].name)));
    for (const auto& row : rows_) width = std::max(width, columns_of(markdown_cell(row[c])));
    widths.push_back(width);
  }
  const auto line = [&](const auto& cell) {
    std::string out = "|";
    for (size_t c = 0; c < columns_.size(); ++c) {
      const std::string text = markdown_cell(cell(c));
      const std::string space(widths[c] - columns_of(text), ' ');
      out.append(" ").append(columns_[c].number ? space + text : text + space).append(" |");
    }
    return out + '\n';
  };
  std::string out = line([&](size_t c) { return columns_[c].name; });
  out += '|';
  for (size_t c = 0; c < columns_.size(); ++c) {
    out.append(" ").append(widths[c] - 1, '-').append(columns_[c].number ? ":" : "-").append(" |");
  }
  out += '\n';
  for (const auto& row : rows_) out += line([&](size_t c) { return row[c]; });
  return out;
}

std::string Table::html() const {
  std::string out = "<div class=\"scroll\"><table>\n<thead><tr>";
  for (const Column& column : columns_) {
    out.append(column.number ? "<th class=\"number\">" : "<th>")
        .append(xml_escaped(column.name))
        .append("</th>");
  }
  out += "</tr></thead>\n<tbody>\n";
  for (const auto& row : rows_) {
    out += "<tr>";
    for (size_t c = 0; c < row.size(); ++c) {
      out.append(columns_[c].number ? "<td class=\"number\">" : "<td>")
          .append(xml_escaped(row[c]))
          .append("</td>");
    }
    out += "</tr>\n";
  }
  return out + "</tbody>\n</table></div>\n";
}

}  // namespace d2dmoe::report
