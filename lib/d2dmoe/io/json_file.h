#pragma once

#include <filesystem>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

namespace d2dmoe::io {

/// Parses JSON text; errors carry `origin` (a file's name), line and column. Duplicate keys, invalid UTF-8
/// and nesting deeper than 256 are refused; a byte order mark is skipped. Objects of any size take linear
/// time.
/// @throws Error
nlohmann::ordered_json parse_json(std::string_view text, const std::string& origin);
nlohmann::ordered_json read_json_file(const std::filesystem::path& file);

/// `text` for a message: at most `limit` bytes, control characters and invalid UTF-8 as "?".
std::string printable(std::string_view text, size_t limit = 120);

}  // namespace d2dmoe::io
