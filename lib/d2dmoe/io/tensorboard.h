#pragma once

#include <cstdint>
#include <filesystem>
#include <fstream>
#include <string>
#include <string_view>

namespace d2dmoe::io {

/// Writes scalars as TensorBoard events (TFRecord framing with masked CRC-32C around hand-encoded Event
/// messages).
class TensorBoardWriter {
 public:
  /// Opens <dir>/events.out.tfevents.<time>.<host>.<pid>.<count>; a resumed run adds a file, which
  /// TensorBoard reads on from: what earlier files hold from its first step on is dropped there.
  /// @throws Error  the file cannot be made
  explicit TensorBoardWriter(const std::filesystem::path& dir);
  /// @throws Error  the file cannot be written
  void scalar(const std::string& tag, double value, int64_t step);
  void flush();

 private:
  void record(std::string_view event);

  std::filesystem::path file_;
  std::ofstream out_;
  bool started_ = false;
};

/// CRC-32C (Castagnoli) of `bytes`, as the TFRecord format uses it: rotated and offset.
uint32_t masked_crc32c(std::string_view bytes);

}  // namespace d2dmoe::io
