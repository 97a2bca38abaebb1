#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace d2dmoe::data {

/// Images sorted into classes by the first folder of their paths.
struct ClassPaths {
  std::vector<std::string> classes;  ///< sorted
  std::vector<size_t> order;         ///< the paths that are images, sorted by class and path
  std::vector<int64_t> labels;       ///< for each of them, its class
};

/// Whether the name ends as a JPEG or PNG file's does.
bool has_image_ending(std::string_view path);

/// Whether the name ends as a JPEG or PNG file's and neither it nor a folder above it is hidden.
bool is_image_path(std::string_view path);

/// @param paths   relative, with forward slashes
/// @param origin  where they are, for messages
/// @throws UsageError  none of them is an image in a class folder
ClassPaths sort_into_classes(const std::vector<std::string>& paths, const std::string& origin);

}  // namespace d2dmoe::data
