#include "d2dmoe/data/content_hash.h"

#include <algorithm>
#include <fstream>
#include <vector>

#include "d2dmoe/core/error.h"
#include "d2dmoe/core/hash.h"
#include "d2dmoe/data/image_files.h"

namespace d2dmoe::data {
namespace {

namespace fs = std::filesystem;

// A start of a stage shall not wait for more than about a tenth of a second of hashing.
constexpr uintmax_t kWholeBytes = uintmax_t{64} << 20;
constexpr uintmax_t kPartBytes = uintmax_t{1} << 20;

std::string bytes_of(std::ifstream& stream, uintmax_t begin, uintmax_t count, const fs::path& file) {
  std::string bytes(count, '\0');
  stream.seekg(static_cast<std::streamoff>(begin));
  stream.read(bytes.data(), static_cast<std::streamsize>(count));
  D2D_CHECK(stream.good(), "[data] '{}': cannot be read", file);
  return bytes;
}

std::string file_hash(const fs::path& file) {
  const uintmax_t size = fs::file_size(file);
  if (size <= kWholeBytes) return sha256_file(file);
  std::ifstream stream(file, std::ios::binary);
  D2D_CHECK(stream.good(), "[data] '{}': cannot be read", file);
  return sha256(std::to_string(size) + bytes_of(stream, 0, kPartBytes, file) +
                bytes_of(stream, size - kPartBytes, kPartBytes, file));
}

/// Hidden files are no data, and links to folders are not followed: a circle of them has no end.
std::string folder_hash(const fs::path& folder) {
  std::vector<std::string> lines;
  std::error_code error;
  fs::recursive_directory_iterator it(folder, fs::directory_options::skip_permission_denied, error);
  for (const fs::recursive_directory_iterator end; !error && it != end; it.increment(error)) {
    std::error_code gone;
    const bool hidden = it->path().filename().string().starts_with('.');
    if (hidden && it->is_directory(gone)) it.disable_recursion_pending();
    if (hidden || (it->is_directory(gone) && !it->is_symlink(gone))) continue;
    const uintmax_t size = it->is_regular_file(gone) ? it->file_size(gone) : 0;
    lines.push_back(format("{} {}\n", it->path().lexically_relative(folder).string(), std::to_string(size)));
  }
  D2D_CHECK(!error, "[data] '{}': cannot be listed: {}", folder, error.message());
  std::sort(lines.begin(), lines.end());
  std::string list;
  for (const auto& line : lines) list += line;
  return sha256(list);
}

/// The file that holds the path: itself, or the archive that it leads into ("images.tar/train").
fs::path existing_part(fs::path path) {
  std::error_code missing;
  while (!fs::exists(path, missing) && path.has_relative_path()) path = path.parent_path();
  return path;
}

}  // namespace

std::string content_hash(const fs::path& path) {
  if (path.empty()) return "";
  std::error_code missing;  // and not to be looked at: opening the data says so
  if (fs::is_directory(path, missing)) return folder_hash(path);
  const fs::path file = existing_part(path);
  if (!fs::is_regular_file(file, missing)) return "";
  const fs::path labels = idx_labels_beside(file);
  const std::string hash = file_hash(file);
  return labels != file && fs::is_regular_file(labels, missing) ? sha256(hash + file_hash(labels)) : hash;
}

}  // namespace d2dmoe::data
