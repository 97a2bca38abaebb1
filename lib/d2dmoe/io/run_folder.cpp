#include "d2dmoe/io/run_folder.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <limits>

#include "d2dmoe/core/error.h"
#include "d2dmoe/core/log.h"
#include "d2dmoe/io/atomic_file.h"
#include "d2dmoe/io/json_file.h"

namespace d2dmoe::io {
namespace fs = std::filesystem;
namespace {

using nlohmann::ordered_json;

std::string dump(const ordered_json& json, int indent = -1) {
  return json.dump(indent, ' ', false, ordered_json::error_handler_t::replace);
}

void collect_changes(const ordered_json* before, const ordered_json* now, const std::string& path,
                     std::vector<std::string>& changes) {
  if (before && now && before->is_object() && now->is_object()) {
    const auto inside = [&](const std::string& key) { return path.empty() ? key : path + "." + key; };
    const auto find = [](const ordered_json& json, const std::string& key) {
      const auto found = json.find(key);
      return found == json.end() ? nullptr : &*found;
    };
    for (const auto& [key, value] : before->items())
      collect_changes(&value, find(*now, key), inside(key), changes);
    for (const auto& [key, value] : now->items()) {
      if (!before->contains(key)) collect_changes(nullptr, &value, inside(key), changes);
    }
    return;
  }
  if (before && now && before->is_array() && now->is_array() && before->size() == now->size()) {
    for (size_t i = 0; i < now->size(); ++i) {
      collect_changes(&(*before)[i], &(*now)[i], format("{}[{}]", path, i), changes);
    }
    return;
  }
  if (before && now && *before == *now) return;
  const auto shown = [](const ordered_json* value) {
    return value ? printable(dump(*value), 80) : "not set";
  };
  changes.push_back(
      format("{} was {}, is {}", path.empty() ? "the whole config" : path, shown(before), shown(now)));
}

/// Whether a stage has left nothing but its beginning: one that was refused (bad data, say) can be corrected.
bool only_begun(const fs::path& dir) {
  for (const auto& entry : fs::directory_iterator(dir)) {
    const auto name = entry.path().filename();
    if (name != ".lock" && name != "config.json" && name != "log.txt" && name != "tb") return false;
  }
  return true;
}

/// @param fd  the lock file, open
[[noreturn]] void refuse_locked(const fs::path& dir, int fd) {
  std::array<char, 300> holder{};
  const bool known = ::pread(fd, holder.data(), holder.size() - 1, 0) > 0;
  ::close(fd);
  throw Error(format(
      "[run folder] '{}': in use by {}. Hint: wait until it has ended, or choose another output folder", dir,
      known ? format("process {}", printable(holder.data())) : "another process"));
}

/// What FolderLock would refuse in a folder that is there.
void check_lock(const fs::path& dir) {
  const fs::path file = dir / ".lock";
  struct stat status {};
  const bool there = ::stat(file.c_str(), &status) == 0;
  int denied = there ? ::access(file.c_str(), R_OK | W_OK) : 0;
  // A stage that is done writes nothing but its lock.
  if (denied == 0 && !(there && fs::exists(dir / "result.json"))) denied = ::access(dir.c_str(), W_OK | X_OK);
  D2D_CHECK(denied == 0, "[run folder] '{}': cannot write here: {}", dir, system_reason(errno));
  const int fd = there ? ::open(file.c_str(), O_RDONLY | O_CLOEXEC) : -1;
  if (fd < 0) return;
  if (::flock(fd, LOCK_SH | LOCK_NB) != 0 && errno == EWOULDBLOCK) refuse_locked(dir, fd);
  ::close(fd);
}

}  // namespace

std::vector<std::string> config_changes(const ordered_json& before, const ordered_json& now) {
  std::vector<std::string> changes;
  collect_changes(&before, &now, "", changes);
  return changes;
}

// The lock file stays in the folder: removing it would let two processes lock two files of the same name.
FolderLock::FolderLock(const fs::path& dir) {
  const fs::path file = dir / ".lock";
  fd_ = ::open(file.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0666);
  D2D_CHECK(fd_ >= 0, "[run folder] '{}': cannot write here: {}", dir, system_reason(errno));
  if (::flock(fd_, LOCK_EX | LOCK_NB) != 0) {
    const int error = errno;
    if (error == EWOULDBLOCK) refuse_locked(dir, fd_);
    ::close(fd_);
    throw Error(format("[run folder] '{}': cannot be locked: {}", dir, system_reason(error)));
  }
  std::array<char, 200> host{};
  ::gethostname(host.data(), host.size() - 1);
  const std::string holder = format("{} on {}", ::getpid(), host.data());
  // On a full disk the lock holds all the same, only without a name.
  if (::ftruncate(fd_, 0) == 0) [[maybe_unused]]
    const ssize_t written = ::pwrite(fd_, holder.data(), holder.size(), 0);
}

FolderLock::~FolderLock() {
  ::close(fd_);
}

RunFolder::RunFolder(fs::path dir, const ordered_json& config) : dir_(std::move(dir)) {
  make_folder(dir_);
  lock_ = std::make_unique<FolderLock>(dir_);
  if (begun())
    check_config(config);
  else
    write_file(dir_ / "config.json", dump(config, 2) + "\n");
  truncate_metrics(std::numeric_limits<int64_t>::max());
}

RunFolder::RunFolder(fs::path dir) : dir_(std::move(dir)) {}

RunFolder::~RunFolder() = default;

RunFolder RunFolder::look(fs::path dir) {
  std::error_code ignored;
  if (fs::is_directory(dir, ignored))
    check_lock(dir);
  else
    check_can_make(dir);
  return RunFolder(std::move(dir));
}

bool RunFolder::begun() const {
  return fs::exists(dir_ / "config.json") && !only_begun(dir_);
}

void RunFolder::check_config(const ordered_json& config) const {
  if (!begun()) return;
  // A hash that one side lacks says nothing: an older version did not keep it, or the model is not there any
  // more.
  const auto comparable = [](const ordered_json& of, const ordered_json& other) {
    ordered_json kept = ordered_json::object();
    for (const auto& [key, value] : of.items())
      if (other.contains(key) || !key.ends_with("_sha256")) kept[key] = value;
    return kept;
  };
  const ordered_json recorded = read_json_file(dir_ / "config.json");
  const ordered_json before = comparable(recorded, config), now = comparable(config, recorded);
  const std::vector<std::string> changes = config_changes(before, now);
  constexpr size_t kShown = 12;
  std::string list;
  for (size_t i = 0; i < std::min(changes.size(), kShown); ++i) list += (i > 0 ? "; " : "") + changes[i];
  if (changes.size() > kShown) list += format("; and {} more", changes.size() - kShown);
  D2D_CHECK_USAGE(changes.empty(),
                  "[run folder] '{}': was started with another config: {}. Hint: set these back to go on (a "
                  "…_sha256 is of a file that has changed), "
                  "choose another output folder, or delete this one to start anew",
                  dir_, list);
}

void RunFolder::append_metrics(const ordered_json& event) {
  const fs::path file = dir_ / "metrics.jsonl";
  const std::string line = dump(event) + "\n";
  const int fd = ::open(file.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0666);
  D2D_CHECK(fd >= 0, "[run folder] '{}': cannot write: {}", file, system_reason(errno));
  struct stat before {};
  ::fstat(fd, &before);
  const ssize_t written = ::write(fd, line.data(), line.size());
  const bool whole = written == static_cast<ssize_t>(line.size());
  const int error = written < 0 ? errno : ENOSPC;  // a short write to a file: no room for the rest
  const bool undone = whole || ::ftruncate(fd, before.st_size) == 0;
  ::close(fd);
  D2D_CHECK(whole && undone, "[run folder] '{}': cannot write: {}", file, system_reason(error));
}

void RunFolder::truncate_metrics(int64_t step) {
  const fs::path file = dir_ / "metrics.jsonl";
  if (!fs::exists(file)) return;
  const std::string text = read_file(file);
  std::string kept;
  for (size_t begin = 0; begin < text.size();) {
    const size_t newline = text.find('\n', begin);
    const bool cut = newline == text.npos;
    const std::string_view line = std::string_view(text).substr(begin, cut ? text.npos : newline - begin + 1);
    begin += line.size();
    const ordered_json event = ordered_json::parse(line, nullptr, /*allow_exceptions=*/false);
    if (cut || event.is_discarded()) continue;
    const auto found = event.is_object() ? event.find("step") : event.end();
    const bool later = event.is_object() && found != event.end() && found->is_number_integer() &&
                       found->get<int64_t>() > step;
    if (!later) kept += line;
  }
  if (kept.size() == text.size()) return;
  log::debug("{}: {} bytes after step {} dropped", file, text.size() - kept.size(), step);
  write_file(file, kept);
}

bool RunFolder::done() const {
  return fs::exists(dir_ / "result.json");
}

ordered_json RunFolder::result() const {
  const fs::path file = dir_ / "result.json";
  try {
    auto result = read_json_file(file);
    D2D_CHECK(result.is_object(), "[run folder] '{}': must hold a JSON object", file);
    return result;
  } catch (const Error& error) {
    throw Error(format("{}. Hint: put the file back from a copy, or delete '{}' to run the stage again",
                       error.what(), dir_));
  }
}

void RunFolder::mark_done(const ordered_json& result) {
  write_file(dir_ / "result.json", dump(result, 2) + "\n");
}

}  // namespace d2dmoe::io
