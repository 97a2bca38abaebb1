#pragma once

#include <filesystem>
#include <string>

namespace d2dmoe::data {

/// What tells the data behind a path from other data: files of up to 64 MiB by their bytes, larger ones by
/// size and their first and last mebibytes, folders by the names and sizes of all files below them.
/// @param path  of one split, as the config names it
/// @return      64 hexadecimal digits; empty for an empty path and where nothing is there
/// @throws Error  the file cannot be read
std::string content_hash(const std::filesystem::path& path);

}  // namespace d2dmoe::data
