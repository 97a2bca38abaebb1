#pragma once

#include <torch/types.h>

#include <filesystem>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "d2dmoe/io/safetensors_header.h"

namespace d2dmoe::io {

/// A memory-mapped safetensors file; opening checks the whole header.
class SafetensorsFile {
 public:
  /// @throws Error  names the file, the tensor and what is wrong with it
  static std::shared_ptr<SafetensorsFile> open(const std::filesystem::path& file);

  const std::map<std::string, TensorEntry>& entries() const { return entries_; }
  const std::map<std::string, std::string>& metadata() const { return metadata_; }
  const std::filesystem::path& path() const { return path_; }

  /// The tensor, a read-only view into the mapping that keeps it alive; clone before writing to it.
  /// @throws Error  no such tensor (the message names the nearest)
  torch::Tensor tensor(const std::string& name);
  /// Gives back the memory that reading the tensor took; it is read from the file again when looked at again.
  void release(const std::string& name);

 private:
  struct Mapping;

  std::shared_ptr<Mapping> mapping_;  // shared with the tensors
  uint64_t data_start_ = 0;
  std::map<std::string, TensorEntry> entries_;
  std::map<std::string, std::string> metadata_;
  std::filesystem::path path_;
};

/// Writes the tensors (any device, made contiguous) in the order of their names, atomically (see
/// atomic_file.h).
void write_safetensors(const std::filesystem::path& file, const std::map<std::string, torch::Tensor>& tensors,
                       const std::map<std::string, std::string>& metadata = {{"format", "pt"}});

}  // namespace d2dmoe::io
