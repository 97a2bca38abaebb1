#include "d2dmoe/io/atomic_file.h"

#include <fcntl.h>
#include <linux/magic.h>
#include <stdio.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstring>
#include <utility>
#include <vector>

#include "d2dmoe/core/error.h"

namespace d2dmoe::io {
namespace fs = std::filesystem;
namespace {

[[noreturn]] void fail(const fs::path& path, const char* what, int error) {
  throw Error(format("[file] '{}': cannot {}: {}", path, what, system_reason(error)));
}

int open_retrying(const fs::path& path, int flags, mode_t mode = 0) {
  int fd;
  do {
    fd = ::open(path.c_str(), flags | O_CLOEXEC, mode);
  } while (fd < 0 && errno == EINTR);
  return fd;
}

/// "out/model/" and "out/model" name the same folder, but only the second has a filename.
fs::path without_trailing_slash(const fs::path& path) {
  return path.has_filename() ? path : path.parent_path();
}

// Temporary names: ".<name>.<pid>-<count>.tmp", and ".old.tmp" for a folder on its way out. Whoever works on
// one holds a flock on it, so that one which can be locked was left by a process that is gone (also on
// another host).
fs::path temporary_name(const fs::path& target, const char* ending) {
  static std::atomic<unsigned> count{0};
  return folder_of(target) / format(".{}.{}-{}{}", target.filename(), ::getpid(), count++, ending);
}

bool is_still_at(int fd, const fs::path& path) {
  struct stat opened, named;
  return ::fstat(fd, &opened) == 0 && ::lstat(path.c_str(), &named) == 0 && opened.st_ino == named.st_ino &&
         opened.st_dev == named.st_dev;
}

void remove_stale(const fs::path& target) {
  const std::string start = format(".{}.", target.filename());
  std::error_code ignored;
  std::vector<fs::path> candidates;
  for (const auto& entry : fs::directory_iterator(folder_of(target), ignored)) {
    const std::string name = entry.path().filename();
    if (name.starts_with(start) && name.ends_with(".tmp") &&
        name.find_first_not_of("0123456789-", start.size()) == name.find('.', start.size())) {
      candidates.push_back(entry.path());
    }
  }
  for (const fs::path& path : candidates) {
    const int fd = open_retrying(path, O_RDONLY | O_NOFOLLOW);
    if (fd < 0) continue;
    if (::flock(fd, LOCK_EX | LOCK_NB) == 0 && is_still_at(fd, path)) {
      const bool lost_original = path.string().ends_with(".old.tmp") && !fs::exists(target, ignored);
      if (lost_original) {
        fs::rename(path, target, ignored);
      } else {
        fs::remove_all(path, ignored);
      }
    }
    ::close(fd);
  }
}

void flush_to_disk(const fs::path& path, int flags) {
  const int fd = open_retrying(path, flags | O_RDONLY);
  if (fd < 0) fail(path, "open", errno);
  const int error = ::fsync(fd) == 0 ? 0 : errno;
  ::close(fd);
  // EINVAL: a file system that has no fsync for folders.
  if (error != 0 && error != EINVAL) fail(path, "flush", error);
}

void flush_tree(const fs::path& dir) {
  for (const auto& entry : fs::recursive_directory_iterator(dir)) {
    if (entry.is_symlink()) continue;
    if (entry.is_directory() || entry.is_regular_file()) flush_to_disk(entry.path(), 0);
  }
  flush_to_disk(dir, O_DIRECTORY);
}

/// A folder under a temporary name, locked while it is worked on and removed at the end unless it was moved
/// away.
class TemporaryFolder {
 public:
  explicit TemporaryFolder(const fs::path& target) {
    for (;;) {
      path_ = temporary_name(target, ".tmp");
      if (::mkdir(path_.c_str(), 0777) != 0) fail(target, "create it", errno);
      fd_ = open_retrying(path_, O_RDONLY | O_DIRECTORY);
      if (fd_ < 0) fail(path_, "open", errno);
      if (::flock(fd_, LOCK_EX) == 0 && is_still_at(fd_, path_)) return;
      ::close(fd_);  // another process took it for a stale one between mkdir and flock
    }
  }
  ~TemporaryFolder() {
    std::error_code ignored;
    fs::remove_all(path_, ignored);
    if (fd_ >= 0) ::close(fd_);
  }
  const fs::path& path() const { return path_; }

 private:
  fs::path path_;
  int fd_ = -1;
};

/// Puts `fresh` at `dir`; what was there before is at `fresh` afterwards.
void exchange(const fs::path& fresh, const fs::path& dir) {
  if (::rename(fresh.c_str(), dir.c_str()) == 0) return;  // nothing there, or an empty folder
  if (errno != EEXIST && errno != ENOTEMPTY && errno != ENOTDIR) fail(dir, "put it in place", errno);
  if (::renameat2(AT_FDCWD, fresh.c_str(), AT_FDCWD, dir.c_str(), RENAME_EXCHANGE) == 0) return;
  if (errno != EINVAL && errno != ENOSYS && errno != EXDEV) fail(dir, "replace it", errno);
  const fs::path old = temporary_name(dir, ".old.tmp");
  if (::rename(dir.c_str(), old.c_str()) != 0) fail(dir, "move the old one away", errno);
  if (::rename(fresh.c_str(), dir.c_str()) != 0) {
    const int error = errno;
    ::rename(old.c_str(), dir.c_str());
    fail(dir, "put it in place", error);
  }
  std::error_code ignored;
  fs::remove_all(old, ignored);
}

/// Whether the kernel makes up what stands there: permissions allow root everything, and no file can be made.
bool is_made_up(const fs::path& dir) {
  struct statfs mounted {};
  return ::statfs(dir.c_str(), &mounted) == 0 &&
         (mounted.f_type == PROC_SUPER_MAGIC || mounted.f_type == SYSFS_MAGIC);
}

}  // namespace

fs::path folder_of(const fs::path& file) {
  return file.has_parent_path() ? file.parent_path() : fs::path(".");
}

std::string system_reason(int error_number) {
  switch (error_number) {
    case ENOSPC:
    case EDQUOT:
      return "the disk is full. Hint: free some space there, or choose a folder on another disk";
    case EROFS:
      return "the file system is read-only. Hint: choose another folder";
    case EACCES:
    case EPERM:
      return "permission denied. Hint: choose another folder, or ask its owner for access";
    case ENOENT:
      return "no such file or folder";
    case ENOTDIR:
      return "a part of this path is a file, not a folder";
    case EISDIR:
      return "it is a folder, not a file";
    case EMFILE:
      return "too many open files. Hint: raise the limit with ulimit -n";
    case EPIPE:
      return "the reader has closed the pipe";
    case EFBIG:
      return "the file would be larger than its file system or ulimit -f allows";
    default:
      return std::strerror(error_number);
  }
}

void make_folder(const fs::path& dir) {
  std::error_code error;
  fs::create_directories(without_trailing_slash(dir), error);
  if (!error && !fs::is_directory(dir)) error = std::make_error_code(std::errc::not_a_directory);
  if (error) fail(dir, "create this folder", error.value());
}

void check_can_make(const fs::path& dir) {
  struct stat status {};
  fs::path there = dir;  // or the nearest folder above it that is there
  while (there != "." && ::stat(there.c_str(), &status) != 0 && errno == ENOENT) there = folder_of(there);
  int error = 0;
  if (::stat(there.c_str(), &status) != 0)
    error = errno;
  else if (!S_ISDIR(status.st_mode))
    error = ENOTDIR;
  else if (::access(there.c_str(), W_OK | X_OK) != 0)
    error = errno;
  else if (is_made_up(there))
    error = EROFS;
  const bool made = S_ISDIR(status.st_mode) && there == dir;
  if (error != 0) fail(dir, made ? "write here" : "create this folder", error);
}

AtomicFile::AtomicFile(fs::path file) : file_(std::move(file)) {
  D2D_CHECK(file_.has_filename(), "[file] '{}': got a folder's name, must be a file's", file_);
  make_folder(folder_of(file_));
  remove_stale(file_);
  for (;;) {
    temporary_ = temporary_name(file_, ".tmp");
    fd_ = open_retrying(temporary_, O_WRONLY | O_CREAT | O_EXCL, 0666);
    if (fd_ < 0) fail(file_, "write", errno);
    if (::flock(fd_, LOCK_EX) == 0 && is_still_at(fd_, temporary_)) return;
    ::close(fd_);  // another process took it for a stale one between open and flock
  }
}

AtomicFile::~AtomicFile() {
  if (fd_ < 0) return;
  ::unlink(temporary_.c_str());
  ::close(fd_);
}

void AtomicFile::write(std::string_view bytes) {
  while (!bytes.empty()) {
    const ssize_t written = ::write(fd_, bytes.data(), bytes.size());
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) fail(file_, "write", errno);
    bytes.remove_prefix(static_cast<size_t>(written));
  }
}

void AtomicFile::commit() {
  if (::fsync(fd_) != 0 && errno != EINVAL) fail(file_, "write", errno);
  if (::rename(temporary_.c_str(), file_.c_str()) != 0) fail(file_, "replace", errno);
  ::close(std::exchange(fd_, -1));
  flush_to_disk(folder_of(file_), O_DIRECTORY);
}

void write_file(const fs::path& file, std::string_view content) {
  AtomicFile out(file);
  out.write(content);
  out.commit();
}

void write_folder(const fs::path& dir, const std::function<void(const fs::path&)>& fill) {
  const fs::path target = without_trailing_slash(dir);
  D2D_CHECK(target.has_filename() && target.filename() != "." && target.filename() != "..",
            "[file] '{}': cannot be replaced as a folder. Hint: name a folder below it", dir);
  make_folder(folder_of(target));
  remove_stale(target);
  const TemporaryFolder fresh(target);
  try {
    fill(fresh.path());
    flush_tree(fresh.path());
  } catch (const Error& error) {  // speaks of the folder that was wanted, not of its temporary name
    std::string message = error.what();
    const std::string temporary = fresh.path().string();
    const size_t at = message.find(temporary);
    if (at == message.npos) throw;
    throw Error(message.replace(at, temporary.size(), target.string()));
  }
  exchange(fresh.path(), target);
  flush_to_disk(folder_of(target), O_DIRECTORY);
}

std::string read_file(const fs::path& file) {
  const int fd = open_retrying(file, O_RDONLY);
  if (fd < 0) fail(file, "read", errno);
  std::string content;
  struct stat status;
  size_t used = 0;
  int error = 0;
  if (::fstat(fd, &status) == 0 && S_ISREG(status.st_mode))
    content.resize(static_cast<size_t>(status.st_size) + 1);
  for (;;) {
    if (used == content.size()) content.resize(std::max<size_t>(size_t{1} << 16, 2 * used));
    const ssize_t got = ::read(fd, content.data() + used, content.size() - used);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) error = errno;
    if (got <= 0) break;
    used += static_cast<size_t>(got);
  }
  ::close(fd);
  if (error != 0) fail(file, "read", error);
  content.resize(used);
  return content;
}

}  // namespace d2dmoe::io
