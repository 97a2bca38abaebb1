#pragma once

#include <cstdint>
#include <filesystem>
#include <fstream>
#include <string>

namespace d2dmoe::io {

/// Writes scalars as TensorBoard events (TFRecord framing with masked CRC-32C around hand-encoded Event
/// messages).
class TensorBoardWriter {
 public:
  /// Opens <dir>/events.out.tfevents.<time>.<host>.<pid>; a resumed run adds a file, which TensorBoard reads
  /// on from.
  explicit TensorBoardWriter(const std::filesystem::path& dir);
  void scalar(const std::string& tag, double value, int64_t step);
  void flush();

 private:
  void record(const std::string& event);
  std::ofstream out_;
};

}  // namespace d2dmoe::io
