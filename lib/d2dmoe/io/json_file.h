#pragma once

#include <filesystem>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

namespace d2dmoe::io {

/// Parses JSON text; errors carry `origin` (a file's name), line and column. Duplicate keys and invalid UTF-8 are
/// refused.
/// @throws Error
nlohmann::ordered_json parse_json(std::string_view text, const std::string& origin);
nlohmann::ordered_json read_json_file(const std::filesystem::path& file);

}  // namespace d2dmoe::io
