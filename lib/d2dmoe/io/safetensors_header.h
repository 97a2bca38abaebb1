#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

namespace d2dmoe::io {

/// Place of one tensor in a safetensors file.
struct TensorEntry {
  std::string dtype;  ///< as in the file: "F32", "BF16", …
  std::vector<int64_t> shape;
  uint64_t begin = 0, end = 0;  ///< bytes, from the start of the data section
};

struct SafetensorsHeader {
  std::map<std::string, TensorEntry> entries;
  std::map<std::string, std::string> metadata;
  uint64_t data_start = 0;  ///< byte of the file at which the data section begins
};

/// Reads and checks a whole header: its length, JSON, duplicate names, dtypes, shapes (overflow), offsets
/// (order, overlap, gaps, end of file).
/// @param bytes      the file's beginning, at least min(file_size, 8 + header length)
/// @param file_size  bytes of the whole file
/// @param origin     the file's path, for messages
/// @throws Error  names the file, the tensor and what is wrong with it
/// @ref https://github.com/huggingface/safetensors (format description)
SafetensorsHeader parse_safetensors_header(std::string_view bytes, uint64_t file_size,
                                           const std::string& origin);

}  // namespace d2dmoe::io
