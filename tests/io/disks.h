#pragma once

#include <sys/mount.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <filesystem>
#include <functional>
#include <string>

#include "support/support.h"

/// Disks that are full or read-only, and processes that die, for the tests of this room.
namespace d2dmoe::test {

/// A tmpfs mounted for one test; mounted() is false where the user may not mount (not root).
class Tmpfs {
 public:
  explicit Tmpfs(const std::string& size, unsigned long flags = 0)
      : mounted_(::mount("tmpfs", dir_.path().c_str(), "tmpfs", flags, ("size=" + size).c_str()) == 0) {}
  ~Tmpfs() {
    if (mounted_) ::umount2(dir_.path().c_str(), MNT_DETACH);
  }
  bool mounted() const { return mounted_; }
  const std::filesystem::path& path() const { return dir_.path(); }
  std::filesystem::path operator/(const std::string& name) const { return dir_ / name; }

 private:
  TempDir dir_;
  bool mounted_;
};

/// A folder nobody may write to: a read-only tmpfs for root (whom permissions do not stop), else one without
/// `w`.
class ReadOnlyFolder {
 public:
  ReadOnlyFolder() : disk_("64k", MS_RDONLY) {
    if (!disk_.mounted()) std::filesystem::permissions(disk_.path(), std::filesystem::perms(0555));
  }
  ~ReadOnlyFolder() {
    if (!disk_.mounted()) std::filesystem::permissions(disk_.path(), std::filesystem::perms(0755));
  }
  /// False for a root that may not mount.
  bool works() const { return disk_.mounted() || ::geteuid() != 0; }
  const std::filesystem::path& path() const { return disk_.path(); }

 private:
  Tmpfs disk_;
};

/// Runs `work` in a child process; returns its process id.
inline pid_t in_child(const std::function<void()>& work) {
  const pid_t child = ::fork();
  if (child == 0) {
    try {
      work();
    } catch (...) {
      ::_exit(1);
    }
    ::_exit(0);
  }
  return child;
}

/// Lets `work` run in a child for `microseconds` and kills it then (-9).
inline void run_and_kill(const std::function<void()>& work, useconds_t microseconds) {
  const pid_t child = in_child(work);
  ::usleep(microseconds);
  ::kill(child, SIGKILL);
  ::waitpid(child, nullptr, 0);
}

/// The names in a folder, hidden ones included, sorted.
inline std::vector<std::string> names_in(const std::filesystem::path& dir) {
  std::vector<std::string> names;
  for (const auto& entry : std::filesystem::directory_iterator(dir)) names.push_back(entry.path().filename());
  std::sort(names.begin(), names.end());
  return names;
}

}  // namespace d2dmoe::test
