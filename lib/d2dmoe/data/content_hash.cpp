#include "d2dmoe/data/content_hash.h"

#include <algorithm>
#include <fstream>
#include <vector>

#include "d2dmoe/core/error.h"
#include "d2dmoe/core/hash.h"

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

std::string folder_hash(const fs::path& folder) {
  std::vector<std::string> lines;
  for (const auto& entry :
       fs::recursive_directory_iterator(folder, fs::directory_options::follow_directory_symlink |
                                                    fs::directory_options::skip_permission_denied)) {
    if (!entry.is_regular_file()) continue;
    lines.push_back(format("{} {}\n", entry.path().lexically_relative(folder).string(),
                           std::to_string(entry.file_size())));
  }
  std::sort(lines.begin(), lines.end());
  std::string list;
  for (const auto& line : lines) list += line;
  return sha256(list);
}

}  // namespace

std::string content_hash(const fs::path& path) {
  std::error_code missing;  // and not to be looked at: opening the data says so
  if (path.empty() || !fs::exists(path, missing)) return "";
  if (fs::is_directory(path)) return folder_hash(path);
  return fs::is_regular_file(path) ? file_hash(path) : "";
}

}  // namespace d2dmoe::data
