#include "d2dmoe/kernels/break_even_table.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/utsname.h>
#include <torch/version.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <fstream>

#include "d2dmoe/core/error.h"
#include "d2dmoe/core/hash.h"
#include "d2dmoe/core/log.h"
#include "d2dmoe/core/version.h"
#include "d2dmoe/io/atomic_file.h"
#include "d2dmoe/io/json_file.h"
#include "d2dmoe/kernels/source_hash.h"

namespace d2dmoe::kernels {
namespace {
namespace fs = std::filesystem;

constexpr int kFormat = 1;  // of the file

// Builds that are not equally fast do not share figures.
#if defined(__SANITIZE_ADDRESS__)
constexpr const char* kBuild = __VERSION__ ", sanitized";
#elif defined(__OPTIMIZE__)
constexpr const char* kBuild = __VERSION__;
#else
constexpr const char* kBuild = __VERSION__ ", not optimised";
#endif

std::string processor() {
  std::ifstream info("/proc/cpuinfo");
  std::string family, model, stepping;
  for (std::string line; std::getline(info, line) && !line.empty();) {  // the first processor's paragraph
    const size_t colon = line.find(": ");
    if (colon == line.npos) continue;
    const std::string value = line.substr(colon + 2);
    if (line.starts_with("model name")) model = value;
    // Virtual machines name many processors alike: the numbers tell them apart.
    if (line.starts_with("cpu family") || line.starts_with("CPU implementer")) family = value;
    if (line.starts_with("model\t") || line.starts_with("CPU part")) stepping = value;
  }
  struct utsname system;
  const char* architecture = ::uname(&system) == 0 ? system.machine : "unknown";
  return format("{} {} {} {}", architecture, model, family, stepping);
}

// Held while a process reads, adds and replaces. Without a lock (a file system that has none) the worst is an
// entry that is measured again.
class FileLock {
 public:
  explicit FileLock(const fs::path& file) : fd_(::open(file.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0666)) {
    while (fd_ >= 0 && ::flock(fd_, LOCK_EX) != 0 && errno == EINTR) {
    }
  }
  ~FileLock() {
    if (fd_ >= 0) ::close(fd_);
  }
  FileLock(const FileLock&) = delete;
  FileLock& operator=(const FileLock&) = delete;

 private:
  int fd_;
};

}  // namespace

fs::path cache_folder() {
  const auto variable = [](const char* name) {
    const char* value = std::getenv(name);
    return std::string(value ? value : "");
  };
  if (const std::string own = variable("D2DMOE_CACHE_DIR"); !own.empty()) return own == "none" ? "" : own;
  // The XDG rules: a path that is not absolute does not count.
  if (const fs::path shared = variable("XDG_CACHE_HOME"); shared.is_absolute()) return shared / "d2dmoe";
  if (const fs::path home = variable("HOME"); home.is_absolute()) return home / ".cache" / "d2dmoe";
  return {};
}

std::string machine_text() {
  return format("{}, LibTorch {}, d2dmoe {} ({}, {})", processor(), TORCH_VERSION, kVersion, kSourceHash,
                kBuild);
}

BreakEvenTable::BreakEvenTable(fs::path folder, std::string machine) : machine_(std::move(machine)) {
  if (!folder.empty()) file_ = folder / format("break-even-{}.json", sha256(machine_).substr(0, 16));
}

std::optional<double> BreakEvenTable::find(const std::string& layer) {
  const std::scoped_lock lock(mutex_);
  if (!shares_) {
    shares_.emplace();
    try {
      *shares_ = read();
    } catch (const std::exception& error) {
      // The file is replaced by the next addition.
      log::warn("[break-even] measured anew: {}", error.what());
    }
  }
  const auto found = shares_->find(layer);
  return found == shares_->end() ? std::nullopt : std::optional(found->second);
}

void BreakEvenTable::add(const std::string& layer, double share) {
  const std::scoped_lock lock(mutex_);
  if (!shares_) shares_.emplace();
  (*shares_)[layer] = share;
  if (file_.empty()) return;
  try {
    io::make_folder(file_.parent_path());
    const FileLock file_lock(fs::path(file_).concat(".lock"));
    Shares all;
    try {
      all = read();  // another process may have added something
    } catch (const std::exception&) {
      // Broken: find() has said so, and this replaces it.
    }
    all.merge(Shares(*shares_));
    write(all);
    shares_->merge(all);
  } catch (const std::exception& error) {
    log::warn("[break-even] not kept for the next run: {}", error.what());
    file_.clear();
  }
}

BreakEvenTable::Shares BreakEvenTable::read() const {
  if (file_.empty() || !fs::exists(file_)) return {};
  const auto json = io::read_json_file(file_);
  const auto member = [&](const char* name) {
    D2D_CHECK(json.is_object() && json.contains(name), "[break-even] '{}': has no '{}'", file_, name);
    return json.at(name);
  };
  const auto entries = member("shares");
  D2D_CHECK(member("format") == kFormat && member("machine") == machine_ && entries.is_object(),
            "[break-even] '{}': was not written for this machine in this form", file_);
  Shares shares;
  for (const auto& [layer, value] : entries.items()) {
    const double share = value.is_number() ? value.get<double>() : -1;
    D2D_CHECK(share >= 0 && share <= 2, "[break-even] '{}': '{}' is no share from 0 to 2", file_, layer);
    shares[layer] = share;
  }
  return shares;
}

void BreakEvenTable::write(const Shares& shares) const {
  nlohmann::ordered_json json = {{"format", kFormat}, {"machine", machine_}, {"shares", shares}};
  io::write_file(file_, json.dump(1) + "\n");
}

}  // namespace d2dmoe::kernels
