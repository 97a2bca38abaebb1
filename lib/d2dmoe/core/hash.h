#pragma once

#include <filesystem>
#include <string>
#include <string_view>

namespace d2dmoe {

/// SHA-256 as 64 hexadecimal digits: the same that `sha256sum` and the Hugging Face hub show for a file.
std::string sha256(std::string_view bytes);
/// @throws Error  the file cannot be read
std::string sha256_file(const std::filesystem::path& file);

}  // namespace d2dmoe
