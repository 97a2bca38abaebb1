#pragma once

#include <filesystem>
#include <string>

namespace d2dmoe::data {

/// What tells the data behind a path from other data: files of up to 64 MiB by their bytes, larger ones by
/// size and their first and last mebibytes, folders by the names and sizes of all files below them (hidden
/// ones left out, links to folders not followed). A path into an archive stands for the archive; the labels
/// beside IDX images belong to these.
/// @param path  of one split, as the config names it
/// @return      64 hexadecimal digits; empty for an empty path and where no file is there
/// @throws Error  a file cannot be read, a folder cannot be listed
std::string content_hash(const std::filesystem::path& path);

}  // namespace d2dmoe::data
