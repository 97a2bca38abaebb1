#include "d2dmoe/io/hf_folder.h"

#include <algorithm>
#include <set>

#include "d2dmoe/core/error.h"
#include "d2dmoe/core/hash.h"
#include "d2dmoe/io/atomic_file.h"
#include "d2dmoe/io/remedy.h"

namespace d2dmoe::io {
namespace fs = std::filesystem;
namespace {

constexpr const char* kSingle = "model.safetensors";
constexpr const char* kIndex = "model.safetensors.index.json";
constexpr const char* kTokenizerFiles[] = {"vocab.txt",
                                           "tokenizer.json",
                                           "tokenizer_config.json",
                                           "special_tokens_map.json",
                                           "added_tokens.json",
                                           "vocab.json",
                                           "merges.txt",
                                           "tokenizer.model",
                                           "sentencepiece.bpe.model",
                                           "spiece.model",
                                           "chat_template.jinja",
                                           "preprocessor_config.json"};

void check_folder(const fs::path& dir) {
  D2D_CHECK(
      fs::exists(dir),
      "[model] '{}': no such folder. Hint: give the path of a Hugging Face model folder; one from the hub is "
      "fetched with 'hf download NAME --local-dir FOLDER'",
      dir);
  D2D_CHECK(fs::is_directory(dir), "[model] '{}': is a file, must be a Hugging Face model folder", dir);
  D2D_CHECK(fs::exists(dir / "config.json"),
            "[model] '{}': has no config.json. Hint: a Hugging Face model folder holds config.json, the "
            "weights and the tokenizer's files",
            dir);
}

/// The class with which transformers reads a folder without losing its head.
std::string auto_class_of(const fs::path& dir) {
  const auto config = read_json_file(dir / "config.json");
  const auto names = config.is_object() ? config.value("architectures", nlohmann::ordered_json()) : config;
  const std::string name =
      names.is_array() && !names.empty() && names[0].is_string() ? names[0].get<std::string>() : "";
  if (name.ends_with("ForCausalLM") || name.ends_with("LMHeadModel")) return "AutoModelForCausalLM";
  if (name.find("ForImageClassification") != name.npos) return "AutoModelForImageClassification";
  return "AutoModelForSequenceClassification";
}

/// Why a folder has no weights that we read; returns where none are needed.
void check_without_weights(const fs::path& dir, Weights weights) {
  for (const char* pickle : {"pytorch_model.bin", "pytorch_model.bin.index.json"}) {
    if (fs::exists(dir / pickle)) {
      throw Error(
          format("[model] '{}': has only {}, must have {}. Hint: convert it once in Python: "
                 "transformers.{}.from_pretrained('{}').save_pretrained('{}', safe_serialization=True)",
                 dir, pickle, kSingle, auto_class_of(dir), dir, dir));
    }
  }
  D2D_CHECK(weights == Weights::optional, "[model] '{}': has no weights: neither {} nor {}. Hint: {}", dir,
            kSingle, kIndex,
            remedy_of(dir / kSingle,
                      "is the download complete? Only `d2dmoe train` and `train-sparse` start from "
                      "config.json alone"));
}

std::map<std::string, std::string> read_index(const fs::path& dir) {
  const fs::path file = dir / kIndex;
  const nlohmann::ordered_json index = read_json_file(file);
  const auto map = index.find("weight_map");
  D2D_CHECK(index.is_object() && map != index.end() && map->is_object() && !map->empty(),
            "[model] '{}': must hold a JSON object \"weight_map\" from tensor names to file names", file);
  std::map<std::string, std::string> where;
  std::set<std::string> checked;
  for (const auto& [name, shard] : map->items()) {
    const bool plain =
        shard.is_string() && fs::path(shard.get<std::string>()).filename() == shard.get<std::string>();
    D2D_CHECK(plain, "[model] '{}': weight_map: tensor '{}' must name a file in the same folder, got {}",
              file, printable(name),
              printable(shard.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace)));
    const std::string shard_name = shard.get<std::string>();
    D2D_CHECK(
        !checked.insert(shard_name).second || fs::is_regular_file(dir / shard_name),
        "[model] '{}': tensor '{}' is in the shard '{}', which is not in the folder. Hint: is the download "
        "complete?",
        file, printable(name), printable(shard_name));
    where[name] = shard_name;
  }
  return where;
}

}  // namespace

HfFolder::HfFolder(fs::path dir, Weights weights) : dir_(std::move(dir)) {
  check_folder(dir_);
  config_ = read_json_file(dir_ / "config.json");
  D2D_CHECK(config_.is_object(), "[model] '{}': must be a JSON object", dir_ / "config.json");
  // A single file goes before an index, as in transformers.
  if (fs::exists(dir_ / kSingle)) {
    open_[kSingle] = SafetensorsFile::open(dir_ / kSingle);
    for (const auto& [name, entry] : open_[kSingle]->entries()) where_[name] = kSingle;
  } else if (fs::exists(dir_ / kIndex)) {
    where_ = read_index(dir_);
  } else {
    check_without_weights(dir_, weights);
    has_weights_ = false;
  }
}

std::vector<std::string> HfFolder::tensor_names() const {
  std::vector<std::string> names;
  names.reserve(where_.size());
  for (const auto& [name, file] : where_) names.push_back(name);
  return names;
}

bool HfFolder::has(const std::string& name) const {
  return where_.contains(name);
}

const std::string& HfFolder::file_name(const std::string& name) const {
  const auto found = where_.find(name);
  if (found == where_.end()) {
    const std::string nearest = nearest_word(name, tensor_names());
    throw Error(format("[model] '{}': has no tensor '{}'{}", dir_, name,
                       nearest.empty() ? "" : format(". Hint: the nearest name there is '{}'", nearest)));
  }
  return found->second;
}

SafetensorsFile& HfFolder::file_of(const std::string& name) {
  const std::string& file_name = this->file_name(name);
  std::shared_ptr<SafetensorsFile>& file = open_[file_name];
  if (!file) file = SafetensorsFile::open(dir_ / file_name);
  D2D_CHECK(file->entries().contains(name),
            "[model] '{}': tensor '{}' must be in '{}' by the index, but it is not. Hint: do index and "
            "shards come from the same download?",
            dir_ / kIndex, name, file_name);
  return *file;
}

std::vector<int64_t> HfFolder::shape(const std::string& name) {
  return file_of(name).entries().at(name).shape;
}

std::string HfFolder::dtype(const std::string& name) {
  return file_of(name).entries().at(name).dtype;
}

torch::Tensor HfFolder::tensor(const std::string& name) {
  return file_of(name).tensor(name);
}

std::vector<fs::path> HfFolder::weight_files() const {
  if (!has_weights_) return {};
  std::set<std::string> names;
  for (const auto& [tensor, file] : where_) names.insert(file);
  if (names.empty()) names.insert(kSingle);  // a file without tensors
  std::vector<fs::path> files;
  for (const std::string& name : names) files.push_back(dir_ / name);
  return files;
}

std::string HfFolder::weights_hash() const {
  if (!has_weights_) return sha256_file(dir_ / "config.json");
  const std::vector<fs::path> files = weight_files();
  if (files.size() == 1) return sha256_file(files.front());
  std::string list;  // as sha256sum prints it
  for (const fs::path& file : files) list += format("{}  {}\n", sha256_file(file), file.filename());
  return sha256(list);
}

void copy_tokenizer_files(const fs::path& from, const fs::path& to) {
  std::error_code ignored;
  if (fs::equivalent(from, to, ignored)) return;
  for (const char* name : kTokenizerFiles) {
    if (fs::exists(from / name)) write_file(to / name, read_file(from / name));
  }
}

std::string tokenizer_hash(const fs::path& dir) {
  std::string list;
  for (const char* name : kTokenizerFiles) {
    if (fs::exists(dir / name)) list += format("{}  {}\n", sha256_file(dir / name), name);
  }
  return sha256(list);
}

}  // namespace d2dmoe::io
