#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace d2dmoe::config {

/// The line (from 1) of a key in JSON text, for messages.
/// @param path  keys from the root: {"train", "optimizer", "lr"}
/// @return      0 when the text does not hold the key, or is no JSON
size_t line_of(std::string_view text, const std::vector<std::string>& path);

}  // namespace d2dmoe::config
