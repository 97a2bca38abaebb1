#pragma once

#include <torch/types.h>

#include <filesystem>
#include <map>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "d2dmoe/io/json_file.h"
#include "d2dmoe/io/safetensors.h"

namespace d2dmoe::io {

/// Whether a model folder must hold weights. `optional`: config.json alone will do, for training from
/// nothing.
enum class Weights { required, optional };

/// A model folder in the Hugging Face layout: config.json, model.safetensors or shards with
/// model.safetensors.index.json, tokenizer files. Shards are opened on first use.
class HfFolder {
 public:
  /// Reads config.json and the index of the weights.
  /// @throws Error  folder or file missing, config.json corrupt; a folder with only pytorch_model.bin gets a
  /// hint
  explicit HfFolder(std::filesystem::path dir, Weights weights = Weights::required);

  const std::filesystem::path& dir() const { return dir_; }
  const nlohmann::ordered_json& config() const { return config_; }
  bool has_weights() const { return has_weights_; }
  std::vector<std::string> tensor_names() const;
  bool has(const std::string& name) const;
  std::vector<int64_t> shape(const std::string& name);
  /// As in the file: "F32", "BF16", "I32", …
  std::string dtype(const std::string& name);
  /// Where the tensor begins in its file.
  uint64_t place(const std::string& name) { return file_of(name).entries().at(name).begin; }
  torch::Tensor tensor(const std::string& name);
  /// Name of the file that holds the tensor. @throws Error  no such tensor
  const std::string& file_name(const std::string& name) const;
  /// See SafetensorsFile::release.
  void release(const std::string& name) { file_of(name).release(name); }
  /// Closes the files; tensors keep theirs mapped. One is opened again when it is needed again.
  void close() { open_.clear(); }
  /// The weight files, in order; none where there are no weights.
  std::vector<std::filesystem::path> weight_files() const;
  /// SHA-256 over the weight files (one file: that file's own; shards: of the list of theirs); without
  /// weights, that of config.json.
  std::string weights_hash() const;

 private:
  SafetensorsFile& file_of(const std::string& name);

  std::filesystem::path dir_;
  nlohmann::ordered_json config_;
  bool has_weights_ = true;
  std::map<std::string, std::string> where_;  // tensor -> file name
  std::map<std::string, std::shared_ptr<SafetensorsFile>> open_;
};

/// Copies the tokenizer files (vocab.txt, tokenizer.json, tokenizer_config.json, …) and those of the image
/// processor (preprocessor_config.json) of one model folder to another.
void copy_tokenizer_files(const std::filesystem::path& from, const std::filesystem::path& to);

/// SHA-256 over those files of a model folder.
std::string tokenizer_hash(const std::filesystem::path& dir);

}  // namespace d2dmoe::io
