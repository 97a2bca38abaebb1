#pragma once

#include <filesystem>
#include <functional>
#include <string>
#include <string_view>

namespace d2dmoe::io {

/// Replaces `file` by `content` so that a reader, or a kill at any moment, sees the old or the new file,
/// never a part: written beside it, flushed to the disk, renamed. On failure (full disk, read-only folder)
/// the old file stands and nothing is left beside it. Missing parent folders are made.
/// @throws Error  with the system's reason and what to do about it
void write_file(const std::filesystem::path& file, std::string_view content);

/// The same in pieces, for files too large to be held as one text. Without commit() nothing is written.
class AtomicFile {
 public:
  /// @throws Error  the folder cannot be made or written to
  explicit AtomicFile(std::filesystem::path file);
  ~AtomicFile();
  AtomicFile(const AtomicFile&) = delete;
  AtomicFile& operator=(const AtomicFile&) = delete;

  void write(std::string_view bytes);
  /// Puts the file in place. Call once, last.
  void commit();

 private:
  std::filesystem::path file_, temporary_;
  int fd_ = -1;
};

/// Builds a folder with `fill` (which gets a temporary folder beside it) and then puts it in place of `dir`:
/// a reader, or a kill at any moment, sees the old or the new folder. Where the file system cannot exchange
/// two folders in one step (NFS), a kill between two renames leaves the old folder under a hidden name, and
/// the next call puts it back.
void write_folder(const std::filesystem::path& dir,
                  const std::function<void(const std::filesystem::path&)>& fill);

/// Whole file as text. @throws Error  with the system's reason
std::string read_file(const std::filesystem::path& file);

/// Makes a folder and those above it; one that is there already is fine. @throws Error  with the system's
/// reason
void make_folder(const std::filesystem::path& dir);

/// Checks that make_folder and a file in the folder would succeed, by the permissions; nothing is created.
/// @throws Error  they would not, as make_folder says it
void check_can_make(const std::filesystem::path& dir);

/// The folder that a file stands in: "." for a bare name.
std::filesystem::path folder_of(const std::filesystem::path& file);

/// What an errno value means for a person: "the disk is full. Hint: …".
std::string system_reason(int error_number);

}  // namespace d2dmoe::io
