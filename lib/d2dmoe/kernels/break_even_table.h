#pragma once

#include <filesystem>
#include <map>
#include <mutex>
#include <optional>
#include <string>

namespace d2dmoe::kernels {

/// The folder of figures measured on this machine: $D2DMOE_CACHE_DIR, else $XDG_CACHE_HOME/d2dmoe, else
/// ~/.cache/d2dmoe. Empty, nothing is kept: $D2DMOE_CACHE_DIR is "none", or there is no home.
std::filesystem::path cache_folder();

/// What decides about times besides a layer itself: processor, LibTorch, this program's version and
/// the text of its kernels.
std::string machine_text();

/// Break-even shares by layer, kept from process to process in one JSON file per machine. A file that cannot
/// be read or written costs one line in the log; the table then lives as long as its process. Thread-safe;
/// processes that add at the same time lose none of each other's entries.
class BreakEvenTable {
 public:
  /// @param folder   empty = nothing is read or written
  /// @param machine  entries of other machines are not seen
  BreakEvenTable(std::filesystem::path folder, std::string machine);

  std::optional<double> find(const std::string& layer);
  /// @param share  0 … 2, as break_even_share gives it
  void add(const std::string& layer, double share);
  /// Empty when nothing is kept.
  const std::filesystem::path& file() const { return file_; }

 private:
  using Shares = std::map<std::string, double>;
  Shares read() const;
  void write(const Shares& shares) const;

  std::filesystem::path file_;
  std::string machine_;
  std::mutex mutex_;
  std::optional<Shares> shares_;  // read on first use
};

}  // namespace d2dmoe::kernels
