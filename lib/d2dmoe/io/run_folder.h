#pragma once

#include <torch/types.h>

#include <filesystem>
#include <map>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

namespace d2dmoe::io {

/// Keeps other processes out of a folder as long as it lives: a locked file `.lock`, which stays there and
/// holds the owner's process id.
class FolderLock {
 public:
  /// @throws Error  another process holds it (names it); the folder is not writable
  explicit FolderLock(const std::filesystem::path& dir);
  ~FolderLock();
  FolderLock(const FolderLock&) = delete;
  FolderLock& operator=(const FolderLock&) = delete;

 private:
  int fd_ = -1;
};

/// The folder of one stage of an experiment (<output_dir>/<stage>): config.json (resolved), metrics.jsonl,
/// TensorBoard events, checkpoints/, model/, log.txt. Open folders are locked: a second process gets an error
/// that names the first one's process id.
class RunFolder {
 public:
  /// Creates or reopens the folder, takes its lock and compares `config` with the stored one.
  /// @param config  the part of the resolved config that decides this stage's result
  /// @throws Error       locked by another process; not writable
  /// @throws UsageError  the stored config differs (the message lists the changed keys with both values) and
  /// the stage
  ///                     has made something since
  RunFolder(std::filesystem::path dir, const nlohmann::ordered_json& config);
  ~RunFolder();
  RunFolder(const RunFolder&) = delete;
  RunFolder& operator=(const RunFolder&) = delete;

  /// The folder as it is, for reading only: not locked, and nothing on the disk is created or changed. It
  /// need not be there.
  /// @throws Error  what opening it would throw: it cannot be created or written, another process has it
  static RunFolder look(std::filesystem::path dir);

  const std::filesystem::path& dir() const { return dir_; }
  std::filesystem::path model_dir() const { return dir_ / "model"; }

  /// Appends one event (a JSON object) to metrics.jsonl; it is in the file when this returns.
  void append_metrics(const nlohmann::ordered_json& event);
  /// Drops every event whose "step" is above `step` (what a killed run wrote after its last checkpoint), and
  /// a last line that was cut.
  void truncate_metrics(int64_t step);

  /// Whether the stage has made something, which belongs to the stored config.
  bool begun() const;
  /// @throws UsageError  the stage has begun under another config: lists the changed keys with both values
  void check_config(const nlohmann::ordered_json& config) const;
  /// Whether the stage has ended (mark_done was called), with what it noted then.
  bool done() const;
  /// @throws Error  result.json is damaged
  nlohmann::ordered_json result() const;
  void mark_done(const nlohmann::ordered_json& result);

 private:
  explicit RunFolder(std::filesystem::path dir);

  std::filesystem::path dir_;
  std::unique_ptr<FolderLock> lock_;  // none for look()
};

/// The keys in which two configs differ, one text each: "train.epochs was 3, is 5". Keys are dotted paths; 1
/// and 1.0 are equal, and the order of keys does not count.
std::vector<std::string> config_changes(const nlohmann::ordered_json& before,
                                        const nlohmann::ordered_json& now);

/// A checkpoint: named tensors and a JSON state, in one atomically written safetensors file
/// checkpoints/step-000200.safetensors.
struct Checkpoint {
  int64_t step = 0;
  std::map<std::string, torch::Tensor> tensors;
  nlohmann::ordered_json state;  ///< finite numbers only: JSON has no NaN
};
/// @param keep  checkpoints that stay, >= 1; older ones are removed, and so are newer ones (of a state that
/// was left)
void save_checkpoint(const RunFolder& run, const Checkpoint& checkpoint, int64_t keep);
/// Removes all but the newest `keep`.
void prune_checkpoints(const RunFolder& run, int64_t keep);
/// Removes the checkpoint of this step, if there is one.
void drop_checkpoint(const RunFolder& run, int64_t step);
/// Step of the newest checkpoint, whole or not.
std::optional<int64_t> newest_checkpoint(const RunFolder& run);
/// The newest whole checkpoint; one that cannot be read is reported and the one before it taken. False when
/// none.
bool load_checkpoint(const RunFolder& run, Checkpoint& checkpoint);

}  // namespace d2dmoe::io
