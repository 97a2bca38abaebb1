#include "d2dmoe/data/image_archive.h"

#include <archive.h>
#include <archive_entry.h>
#include <fcntl.h>
#include <unistd.h>
#include <zlib.h>

#include <vector>

#include "d2dmoe/core/error.h"
#include "d2dmoe/data/image_class_paths.h"

namespace d2dmoe::data {
namespace {

namespace fs = std::filesystem;

constexpr int64_t kMaxEncodedImage = int64_t{1} << 30;

struct Member {
  std::string path;          // below `inside`
  int64_t offset = 0, size;  // in the archive; only of a plain one
  std::string bytes;         // only of a packed one
};

struct CloseArchive {
  void operator()(archive* a) const { archive_read_free(a); }
};

// "./train/cat/1.jpg" -> "cat/1.jpg" below "train"; "" when it is not below.
std::string below(const std::string& path, const std::string& inside) {
  std::string clean = fs::path(path).lexically_normal().generic_string();
  while (clean.starts_with('/')) clean.erase(0, 1);
  if (inside.empty()) return clean;
  return clean.starts_with(inside + "/") ? clean.substr(inside.size() + 1) : "";
}

void check(bool good, archive* a, const fs::path& file) {
  D2D_CHECK(good, "[images] '{}': cannot be read as a tar archive: {}. Hint: is the download complete?", file,
            archive_error_string(a) == nullptr ? "it is cut off" : archive_error_string(a));
}

// libarchive does not look at the checksum of a gzip file; zlib does, at the file's end.
void check_gzip_sum(const fs::path& file) {
  struct Close {
    void operator()(gzFile_s* in) const { gzclose(in); }
  };
  const std::unique_ptr<gzFile_s, Close> in(gzopen(file.c_str(), "rb"));
  std::vector<char> bytes(1 << 18);
  int got = in ? 1 : -1;
  while (got > 0) got = gzread(in.get(), bytes.data(), static_cast<unsigned>(bytes.size()));
  D2D_CHECK(got == 0,
            "[images] '{}': is damaged, its bytes do not fit its checksum. Hint: is the download complete?",
            file);
}

std::vector<Member> read_members(const fs::path& file, const std::string& inside, bool& packed) {
  const std::unique_ptr<archive, CloseArchive> reader(archive_read_new());
  archive* a = reader.get();
  archive_read_support_filter_all(a);
  archive_read_support_format_tar(a);
  check(archive_read_open_filename(a, file.c_str(), 1 << 16) == ARCHIVE_OK, a, file);
  std::vector<Member> members;
  archive_entry* entry = nullptr;
  while (true) {
    const int state = archive_read_next_header(a, &entry);
    if (state == ARCHIVE_EOF) break;
    check(state == ARCHIVE_OK || state == ARCHIVE_WARN, a, file);
    packed = archive_filter_code(a, 0) != ARCHIVE_FILTER_NONE;
    const char* name = archive_entry_pathname(entry);
    if (name == nullptr || archive_entry_filetype(entry) != AE_IFREG) continue;
    Member member{below(name, inside), archive_filter_bytes(a, 0), archive_entry_size(entry), {}};
    if (member.path.empty()) continue;
    const bool image = is_image_path(member.path);
    D2D_CHECK(!image || (member.size >= 0 && member.size <= kMaxEncodedImage),
              "[images] '{}': '{}' claims {} bytes", file, name, member.size);
    if (image && packed) {
      member.bytes.resize(static_cast<size_t>(member.size));
      check(archive_read_data(a, member.bytes.data(), member.bytes.size()) == member.size, a, file);
    }
    members.push_back(std::move(member));
  }
  if (packed && archive_filter_code(a, 0) == ARCHIVE_FILTER_GZIP) check_gzip_sum(file);
  return members;
}

class ArchiveImages : public ImageFiles {
 public:
  ArchiveImages(const fs::path& file, const std::string& inside) : file_(file), inside_(inside) {
    auto members = read_members(file, inside, packed_);
    std::vector<std::string> paths;
    for (const auto& member : members) paths.push_back(member.path);
    const auto sorted = sort_into_classes(paths, (file / inside).string());
    classes_ = sorted.classes;
    labels_ = sorted.labels;
    for (const size_t i : sorted.order) members_.push_back(std::move(members[i]));
    if (packed_) return;
    fd_ = ::open(file.c_str(), O_RDONLY | O_CLOEXEC);
    D2D_CHECK(fd_ >= 0, "[images] '{}': cannot be opened", file);
  }
  ArchiveImages(const ArchiveImages&) = delete;
  ArchiveImages& operator=(const ArchiveImages&) = delete;
  ~ArchiveImages() override {
    if (fd_ >= 0) ::close(fd_);
  }

  std::string name(int64_t i) const override {
    return (file_ / inside_ / members_[static_cast<size_t>(i)].path).string();
  }
  Image read(int64_t i, const DecodeOptions& options) const override {
    const Member& member = members_[static_cast<size_t>(i)];
    return decode_image(packed_ ? member.bytes : read_in_place(member), name(i), options);
  }

 private:
  std::string read_in_place(const Member& member) const {
    std::string bytes(static_cast<size_t>(member.size), '\0');
    size_t done = 0;
    while (done < bytes.size()) {
      const ssize_t got = ::pread(fd_, bytes.data() + done, bytes.size() - done,
                                  static_cast<off_t>(member.offset) + static_cast<off_t>(done));
      D2D_CHECK(got > 0, "[images] '{}': cannot be read at byte {}", file_,
                member.offset + static_cast<int64_t>(done));
      done += static_cast<size_t>(got);
    }
    return bytes;
  }

  fs::path file_;
  std::string inside_;
  bool packed_ = false;
  std::vector<Member> members_;
  int fd_ = -1;
};

}  // namespace

std::unique_ptr<ImageFiles> open_image_archive(const fs::path& file, const std::string& inside) {
  std::string folder = inside;
  while (folder.ends_with('/')) folder.pop_back();
  return std::make_unique<ArchiveImages>(file, folder);
}

}  // namespace d2dmoe::data
