#pragma once

#include "d2dmoe/data/image_files.h"

namespace d2dmoe::data {

/// The images of a tar archive. @param inside  the folder in it that holds the class folders; empty = its
/// root
std::unique_ptr<ImageFiles> open_image_archive(const std::filesystem::path& file, const std::string& inside);

}  // namespace d2dmoe::data
