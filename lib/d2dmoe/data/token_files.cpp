#include "d2dmoe/data/token_files.h"

#include <ATen/Parallel.h>
#include <torch/types.h>

#include <chrono>
#include <thread>
#include <utility>

#include "d2dmoe/core/error.h"
#include "d2dmoe/core/hash.h"
#include "d2dmoe/core/log.h"
#include "d2dmoe/core/progress.h"
#include "d2dmoe/core/signals.h"
#include "d2dmoe/io/atomic_file.h"
#include "d2dmoe/io/json_file.h"
#include "d2dmoe/io/run_folder.h"
#include "d2dmoe/io/safetensors.h"

namespace d2dmoe::data {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::ordered_json;

std::vector<int64_t> without_bos(std::vector<int64_t> ids, const tokenizer::Tokenizer& tokenizer) {
  if (tokenizer.adds_bos()) ids.erase(ids.begin());
  return ids;
}

/// Ids that stand behind every document.
std::vector<int64_t> end_of_document(const tokenizer::Tokenizer& tokenizer, const std::string& separator) {
  if (separator.empty()) return {};
  if (separator == "auto") {
    const auto eos = tokenizer.special_ids().eos;
    if (tokenizer.adds_bos() || !eos) return {};
    return {*eos};
  }
  auto ids = without_bos(tokenizer.encode(separator, nullptr, 0).ids, tokenizer);
  D2D_CHECK_USAGE(
      ids.size() == 1,
      "[data] 'data.documents.separator': \"{}\" is {} tokens of this tokenizer, must be one. Hint: "
      "auto takes the tokenizer's own",
      io::printable(separator), ids.size());
  return ids;
}

/// How the ids of each document are made.
struct Encoder {
  const tokenizer::Tokenizer& tokenizer;
  bool keep_bos;
  std::vector<int64_t> end;

  Encoder(const tokenizer::Tokenizer& t, const std::string& separator)
      : tokenizer(t), keep_bos(separator == "auto"), end(end_of_document(t, separator)) {}
  std::vector<int64_t> operator()(const std::string& text) const {
    auto ids = tokenizer.encode(text, nullptr, 0).ids;
    if (!keep_bos) ids = without_bos(std::move(ids), tokenizer);
    if (end.empty() || ids.empty() || ids.back() != end.front())
      ids.insert(ids.end(), end.begin(), end.end());
    return ids;
  }
};

/// Documents of about shard_bytes and where they stand.
struct Texts {
  std::vector<std::string> texts, places;
};

Texts read_texts(DocumentReader& reader, int64_t bytes) {
  Texts out;
  int64_t total = 0;
  while (total < bytes) {
    auto text = reader.next();
    if (!text) break;
    total += static_cast<int64_t>(text->size());
    out.texts.push_back(std::move(*text));
    out.places.push_back(reader.place());
  }
  return out;
}

std::map<std::string, torch::Tensor> encode(const Texts& texts, const Encoder& encoder, Progress& progress) {
  const auto count = static_cast<int64_t>(texts.texts.size());
  std::vector<std::vector<int64_t>> ids(texts.texts.size());
  constexpr int64_t kAtOnce = 512;  // between two looks at the progress and the stop
  for (int64_t from = 0; from < count; from += kAtOnce) {
    if (stop_requested())
      throw Interrupted(
          "[data] stopped while tokenising: finished token files are kept, the same command goes on");
    const int64_t to = std::min(count, from + kAtOnce);
    at::parallel_for(from, to, 1, [&](int64_t begin, int64_t end) {
      for (auto i = static_cast<size_t>(begin); i < static_cast<size_t>(end); ++i) {
        try {
          ids[i] = encoder(texts.texts[i]);
        } catch (const Error& error) {
          throw Error(format("[data] '{}': {}", texts.places[i], error.what()));
        }
      }
    });
    int64_t bytes = 0;
    for (auto i = static_cast<size_t>(from); i < static_cast<size_t>(to); ++i)
      bytes += static_cast<int64_t>(texts.texts[i].size());
    progress.advance(bytes);
  }
  int64_t total = 0;
  for (const auto& document : ids) total += static_cast<int64_t>(document.size());
  auto tokens = torch::empty({total}, torch::kInt32);
  auto documents = torch::empty({count, 2}, torch::kInt64);
  auto* out = tokens.mutable_data_ptr<int32_t>();
  for (size_t i = 0; i < ids.size(); ++i) {
    for (const int64_t id : ids[i]) *out++ = static_cast<int32_t>(id);
    documents[static_cast<int64_t>(i)][0] = static_cast<int64_t>(ids[i].size());
    documents[static_cast<int64_t>(i)][1] = static_cast<int64_t>(texts.texts[i].size());
  }
  return {{"ids", tokens}, {"documents", documents}};
}

fs::path token_file(const fs::path& dir, int64_t index) {
  return dir / format("tokens-{:05}.safetensors", index);
}

/// What decides the ids.
Json key_of(const TokenFileOptions& options) {
  Json files = Json::array();
  for (const auto& file : options.files) {
    files.push_back({{"path", fs::weakly_canonical(file).string()},
                     {"bytes", fs::file_size(file)},
                     {"time", fs::last_write_time(file).time_since_epoch().count()}});
  }
  return {{"version", 1},
          {"tokenizer_sha256", options.tokenizer_hash},
          {"separator", options.separator},
          {"format", options.format.format},
          {"delimiter", options.format.delimiter},
          {"column", options.format.column},
          {"shard_bytes", options.shard_bytes},
          {"files", files}};
}

fs::path folder_of(const TokenFileOptions& options, const Json& key) {
  return options.cache_dir / sha256(key.dump()).substr(0, 16);
}

Json position_json(const DocumentReader::Position& p) {
  return {{"file", p.file}, {"byte", p.byte}, {"line", p.line}};
}

/// The lock of a folder of token files; another process that makes them is waited for.
std::unique_ptr<io::FolderLock> wait_for_lock(const fs::path& dir) {
  for (bool told = false;;) {
    try {
      return std::make_unique<io::FolderLock>(dir);
    } catch (const Error& error) {
      if (!fs::exists(dir / ".lock") || stop_requested()) throw;
      if (!std::exchange(told, true)) log::info("waiting for the token files: {}", error.what());
      std::this_thread::sleep_for(std::chrono::milliseconds(200));
    }
  }
}

TokenStream mapped_token_files(const fs::path& dir, const fs::path& index) {
  TokenStream stream;
  const auto count = io::read_json_file(index).at("token_files").get<int64_t>();
  for (int64_t i = 0; i < count; ++i) {
    const auto file = io::SafetensorsFile::open(token_file(dir, i));
    stream.append(file->tensor("ids"), file->tensor("documents"));
  }
  return stream;
}

/// Makes the token files that are missing. @return  how many there are in all
int64_t make_token_files(const TokenFileOptions& options, const tokenizer::Tokenizer& tokenizer,
                         const fs::path& dir) {
  DocumentReader reader(options.files, options.format);
  const Encoder encoder(tokenizer, options.separator);
  int64_t count = 0;
  while (fs::exists(token_file(dir, count))) {
    const fs::path file = token_file(dir, count);
    const auto metadata = io::SafetensorsFile::open(file)->metadata();
    D2D_CHECK(metadata.contains("next"), "[data] '{}': is no token file. Hint: delete the folder '{}'", file,
              dir);
    const auto next = io::parse_json(metadata.at("next"), file.string());
    reader.seek({next.at("file"), next.at("byte"), next.at("line")});
    ++count;
  }
  if (count > 0) log::info("tokenising goes on behind {} token files of '{}'", count, dir);
  Progress progress("tokenise", reader.total_bytes() - reader.bytes_read(), "bytes");
  for (;;) {
    const Texts texts = read_texts(reader, options.shard_bytes);
    if (texts.texts.empty()) break;
    io::write_safetensors(token_file(dir, count), encode(texts, encoder, progress),
                          {{"next", position_json(reader.position()).dump()}});
    ++count;
  }
  return count;
}

}  // namespace

std::vector<int64_t> document_ids(const std::string& text, const tokenizer::Tokenizer& tokenizer,
                                  const std::string& separator) {
  return Encoder(tokenizer, separator)(text);
}

std::optional<TokenStream> find_token_files(const TokenFileOptions& options) {
  const fs::path dir = folder_of(options, key_of(options));
  const fs::path index = dir / "index.json";
  return fs::exists(index) ? std::optional(mapped_token_files(dir, index)) : std::nullopt;
}

TokenStream open_token_files(const TokenFileOptions& options, const tokenizer::Tokenizer& tokenizer) {
  const Json key = key_of(options);
  const fs::path dir = folder_of(options, key);
  const fs::path index = dir / "index.json";
  if (!fs::exists(index)) {
    io::make_folder(dir);
    const auto lock = wait_for_lock(dir);
    if (fs::exists(index)) return mapped_token_files(dir, index);  // another process was faster
    const int64_t count = make_token_files(options, tokenizer, dir);
    D2D_CHECK_USAGE(count > 0,
                    "[data] '{}': holds no text. Hint: check data.documents.delimiter and the file",
                    options.files.front());
    io::write_file(index, Json{{"token_files", count}, {"key", key}}.dump(2) + "\n");
  }
  return mapped_token_files(dir, index);
}

}  // namespace d2dmoe::data
