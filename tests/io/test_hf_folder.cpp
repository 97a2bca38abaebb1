#include <fstream>

#include "d2dmoe/core/error.h"
#include "d2dmoe/core/hash.h"
#include "d2dmoe/io/atomic_file.h"
#include "d2dmoe/io/hf_folder.h"
#include "io/disks.h"

namespace fs = std::filesystem;
using namespace d2dmoe;
using namespace d2dmoe::test;

namespace {

std::string open_error(const fs::path& dir) {
  return message_of([&] { io::HfFolder folder(dir); });
}

/// A copy of the golden sharded folder, to be broken.
void copy_sharded(const fs::path& to) {
  fs::copy(golden("io/sharded"), to, fs::copy_options::recursive);
}

}  // namespace

TEST_CASE("hf_folder: one file", "[io]") {
  TempDir dir;
  io::write_file(dir / "config.json", "{\"model_type\": \"bert\"}");
  io::write_safetensors(dir / "model.safetensors",
                        {{"a.weight", torch::ones({2, 3})}, {"b", torch::zeros({1})}});
  io::HfFolder folder(dir.path());
  CHECK(folder.config().at("model_type") == "bert");
  CHECK(folder.tensor_names() == std::vector<std::string>{"a.weight", "b"});
  CHECK(folder.has("b"));
  CHECK_FALSE(folder.has("c"));
  CHECK(folder.shape("a.weight") == std::vector<int64_t>{2, 3});
  CHECK(difference(folder.tensor("a.weight"), torch::ones({2, 3}), 0) == "");
  CHECK(folder.weight_files() == std::vector<fs::path>{dir / "model.safetensors"});
  CHECK(folder.weights_hash() == sha256_file(dir / "model.safetensors"));
  CHECK(contains(message_of([&] { folder.tensor("a.weigth"); }),
                 "has no tensor 'a.weigth'. Hint: the nearest name there is 'a.weight'"));
}

TEST_CASE("hf_folder: shards with an index", "[io][golden]") {
  io::HfFolder folder(golden("io/sharded"));
  CHECK(folder.tensor_names() == std::vector<std::string>{"encoder.a", "encoder.b", "head.weight"});
  CHECK(folder.shape("head.weight") == std::vector<int64_t>{2, 2});
  CHECK(difference(folder.tensor("encoder.a"), torch::tensor({{0., -1., 2.}, {-3., 4., -5.}}), 0) == "");
  CHECK(folder.tensor("encoder.b").scalar_type() == torch::kBFloat16);
  CHECK(folder.weight_files().size() == 2);
  TempDir dir;
  copy_sharded(dir / "copy");
  CHECK(folder.weights_hash() == io::HfFolder(dir / "copy").weights_hash());
  io::write_safetensors(dir / "copy/model-00001-of-00002.safetensors", {{"encoder.a", torch::ones({2, 3})}});
  CHECK(folder.weights_hash() != io::HfFolder(dir / "copy").weights_hash());
}

TEST_CASE("hf_folder: a missing folder, config or weights", "[io]") {
  TempDir dir;
  CHECK(contains(open_error(dir / "none"), "none': no such folder. Hint: "));
  io::write_file(dir / "file", "x");
  CHECK(contains(open_error(dir / "file"), "is a file, must be a Hugging Face model folder"));
  CHECK(contains(open_error(dir.path()), "has no config.json. Hint: "));
  io::write_file(dir / "config.json", "{}");
  CHECK(contains(open_error(dir.path()),
                 "has no weights: neither model.safetensors nor model.safetensors.index.json"));
  io::write_file(dir / "pytorch_model.bin", "pickle");
  const std::string pickle = open_error(dir.path());
  CHECK(contains(pickle, "has only pytorch_model.bin, must have model.safetensors. Hint: convert it"));
  CHECK(contains(pickle, format("save_pretrained('{}', safe_serialization=True)", dir.path())));
  io::write_file(dir / "config.json", "[]");
  CHECK(contains(open_error(dir.path()), "config.json': must be a JSON object"));
  io::write_file(dir / "config.json", "{\"a\": 1,,}");
  CHECK(contains(open_error(dir.path()), "config.json:1:9'"));
}

TEST_CASE("hf_folder: an index that does not fit its shards", "[io]") {
  TempDir dir;
  const fs::path sharded = dir / "m";
  copy_sharded(sharded);
  const fs::path index = sharded / "model.safetensors.index.json";

  fs::remove(sharded / "model-00002-of-00002.safetensors");
  const std::string missing = open_error(sharded);
  CHECK(contains(missing,
                 "model.safetensors.index.json': tensor 'encoder.b' is in the shard "
                 "'model-00002-of-00002.safetensors', which is not in the folder"));

  io::write_safetensors(sharded / "model-00002-of-00002.safetensors", {{"encoder.b", torch::ones({4})}});
  io::HfFolder folder(sharded);
  CHECK_NOTHROW(folder.tensor("encoder.b"));
  CHECK(contains(
      message_of([&] { folder.tensor("head.weight"); }),
      "tensor 'head.weight' must be in 'model-00002-of-00002.safetensors' by the index, but it is not"));

  for (const char* bad :
       {"{}", "[]", "{\"weight_map\": {}}", "{\"weight_map\": []}", "{\"weight_map\": {\"a\": 1}}",
        "{\"weight_map\": {\"a\": \"../config.json\"}}", "{\"weight_map\": {\"a\": \"/etc/passwd\"}}",
        "{\"weight_map\": {\"a\": \"\"}}", "{\"weight_map\": {\"a\": \"..\"}}"}) {
    io::write_file(index, bad);
    INFO(bad);
    CHECK(contains(open_error(sharded), "model.safetensors.index.json"));
  }
}

TEST_CASE("hf_folder: a broken shard is named when it is first used", "[io]") {
  TempDir dir;
  copy_sharded(dir / "m");
  io::write_file(dir / "m/model-00002-of-00002.safetensors", "cut");
  io::HfFolder folder(dir / "m");
  CHECK_NOTHROW(folder.tensor("encoder.a"));
  CHECK(contains(message_of([&] { folder.tensor("encoder.b"); }),
                 "model-00002-of-00002.safetensors': has 3 bytes"));
}

TEST_CASE("hf_folder: the tokenizer's files are copied", "[io]") {
  TempDir dir;
  for (const char* name : {"vocab.txt", "tokenizer.json", "merges.txt", "preprocessor_config.json",
                           "model.safetensors", "notes.txt"}) {
    io::write_file(dir / "from" / name, name);
  }
  fs::create_directories(dir / "to");
  io::copy_tokenizer_files(dir / "from", dir / "to");
  CHECK(names_in(dir / "to") ==
        std::vector<std::string>{"merges.txt", "preprocessor_config.json", "tokenizer.json", "vocab.txt"});
  CHECK(io::read_file(dir / "to/vocab.txt") == "vocab.txt");
  CHECK_NOTHROW(io::copy_tokenizer_files(dir / "from", dir / "from"));
}
