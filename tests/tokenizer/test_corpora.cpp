#include <algorithm>
#include <atomic>
#include <cstdlib>
#include <iostream>
#include <nlohmann/json.hpp>
#include <thread>

#include "d2dmoe/core/hash.h"
#include "d2dmoe/io/atomic_file.h"
#include "d2dmoe/io/json_file.h"
#include "d2dmoe/tokenizer/bpe.h"
#include "support/support.h"

using namespace d2dmoe;
using namespace d2dmoe::test;
namespace fs = std::filesystem;

namespace {

// The texts of a file with a header line: everything before the last separator.
void add_texts(const fs::path& file, char separator, std::vector<std::string>& texts) {
  const std::string content = io::read_file(file);
  bool header = true;
  for (size_t start = 0; start < content.size();) {
    const size_t end = std::min(content.find('\n', start), content.size());
    const std::string line = content.substr(start, end - start);
    if (!header) texts.push_back(line.substr(0, line.rfind(separator)));
    header = false;
    start = end + 1;
  }
}

std::vector<std::string> carer() {
  std::vector<std::string> texts;
  for (const char* split : {"train", "val", "test"}) {
    add_texts(fs::path("data/emotion") / (std::string(split) + ".txt"), ';', texts);
  }
  return texts;
}

// A folder of $D2DMOE_DATA (sst2, tokenizers), empty when there is none.
fs::path data_dir(const char* name) {
  const char* data = std::getenv("D2DMOE_DATA");
  const fs::path dir = data ? fs::path(data) / name : fs::path();
  return data && fs::exists(dir) ? dir : fs::path();
}

std::vector<std::string> sst2() {
  std::vector<std::string> texts;
  for (const char* split : {"train_full", "dev", "test-labeled"}) {
    add_texts(data_dir("sst2") / (std::string(split) + ".tsv"), '\t', texts);
  }
  return texts;
}

// SHA-256 over the ids as int32, little-endian, with -1 after each text.
std::string ids_hash(const tokenizer::Tokenizer& tokenizer, const std::vector<std::string>& texts) {
  std::string bytes;
  const auto put = [&](int64_t id) {
    for (int shift = 0; shift < 32; shift += 8) bytes += static_cast<char>(id >> shift & 0xFF);
  };
  for (const std::string& text : texts) {
    for (const int64_t id : tokenizer.encode(text, nullptr, 0).ids) put(id);
    put(-1);
  }
  return sha256(bytes);
}

std::string expected(const char* name, const char* corpus) {
  return io::read_json_file(golden("tokenizer/corpora.json"))[name][corpus].get<std::string>();
}

bool skip(bool missing, const char* what) {
  if (missing) WARN("SKIPPED: " << what << " is not there");
  return missing;
}

}  // namespace

TEST_CASE("tokenizer: all of CARER, byte-level BPE", "[golden]") {
  const auto t = tokenizer::load_tokenizer(golden("tokenizer/byte_level"));
  CHECK(ids_hash(*t, carer()) == expected("byte_level", "carer"));
}

TEST_CASE("tokenizer: all of CARER and SST-2 with MiniLM's WordPiece", "[golden]") {
  if (skip(minilm_dir().empty(), "the MiniLM checkpoint")) return;
  const auto t = tokenizer::load_tokenizer(minilm_dir());
  CHECK(t->vocab_size() == 30522);
  CHECK(ids_hash(*t, carer()) == expected("minilm", "carer"));
  if (skip(data_dir("sst2").empty(), "SST-2 ($D2DMOE_DATA/sst2)")) return;
  CHECK(ids_hash(*t, sst2()) == expected("minilm", "sst2"));
}

TEST_CASE("tokenizer: all of CARER and SST-2 with GPT-2's vocabulary", "[golden]") {
  const fs::path dir = data_dir("tokenizers");
  if (skip(dir.empty() || data_dir("sst2").empty(),
           "GPT-2's vocabulary or SST-2 ($D2DMOE_DATA/tokenizers, sst2)"))
    return;
  tokenizer::ByteLevelOptions options;
  options.cls_token = options.sep_token = "<|endoftext|>";
  const auto t =
      tokenizer::parse_byte_level_bpe(io::read_file(dir / "gpt2_vocab.json"), "vocab.json",
                                      io::read_file(dir / "gpt2_merges.txt"), "merges.txt", options);
  CHECK(ids_hash(*t, carer()) == expected("gpt2", "carer"));
  CHECK(ids_hash(*t, sst2()) == expected("gpt2", "sst2"));
}

TEST_CASE("tokenizer: threads share one tokenizer") {
  const auto t = tokenizer::load_tokenizer(golden("tokenizer/byte_level"));
  const auto texts = carer();
  std::vector<std::vector<int64_t>> alone;
  for (size_t i = 0; i < 2000; ++i) alone.push_back(t->encode(texts[i], nullptr, 0).ids);
  const auto fresh = tokenizer::load_tokenizer(golden("tokenizer/byte_level"));
  std::atomic<int> wrong{0};
  std::vector<std::thread> threads;
  for (int n = 0; n < 4; ++n) {
    threads.emplace_back([&] {
      for (size_t i = 0; i < alone.size(); ++i) wrong += fresh->encode(texts[i], nullptr, 0).ids != alone[i];
    });
  }
  for (std::thread& thread : threads) thread.join();
  CHECK(wrong == 0);
}
