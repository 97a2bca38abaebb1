#pragma once

#include <filesystem>
#include <functional>
#include <string_view>

namespace d2dmoe::io {

/// Replaces `file` by `content` so that a reader, or a kill at any moment, sees the old or the new file, never a part:
/// written beside it, flushed to the disk, renamed. On failure (full disk, read-only folder) the old file stands and
/// nothing is left beside it.
void write_file(const std::filesystem::path& file, std::string_view content);

/// Builds a folder with `fill` (which gets a temporary folder beside it) and then puts it in place of `dir`.
void write_folder(const std::filesystem::path& dir, const std::function<void(const std::filesystem::path&)>& fill);

/// Whole file as text. @throws Error  with the system's reason
std::string read_file(const std::filesystem::path& file);

}  // namespace d2dmoe::io
