#include "d2dmoe/data/token_count.h"

#include <torch/types.h>

#include <fstream>

#include "d2dmoe/core/error.h"
#include "d2dmoe/core/signals.h"
#include "d2dmoe/data/block_source.h"
#include "d2dmoe/io/atomic_file.h"
#include "data/stories.h"
#include "support/support.h"

using namespace d2dmoe;
using namespace d2dmoe::test;
namespace fs = std::filesystem;

namespace {

std::vector<int64_t> ids_of(const data::TokenStream& stream) {
  std::vector<int64_t> ids(static_cast<size_t>(stream.tokens()));
  stream.copy(0, stream.tokens(), ids.data());
  return ids;
}

/// 300 short documents, and what they are as ids.
std::vector<int64_t> write_documents(const fs::path& file) {
  std::string text;
  std::vector<int64_t> ids;
  for (int i = 0; i < 300; ++i) {
    const std::string document = "Lily saw " + std::to_string(i * 7919 % 1000) + " red balls.";
    text += document + "\n##\n";
    for (const int64_t id : data::document_ids(document, stories(), "auto")) ids.push_back(id);
  }
  io::write_file(file, text);
  return ids;
}

data::TokenFileOptions options_of(const TempDir& dir) {
  data::TokenFileOptions options;
  options.files = {dir / "text.txt"};
  options.format.delimiter = "##";
  options.tokenizer_hash = "hash";
  options.cache_dir = dir / "tokens";
  options.shard_bytes = 1000;
  return options;
}

std::vector<fs::path> token_files(const TempDir& dir) {
  std::vector<fs::path> files;
  for (const auto& entry : fs::recursive_directory_iterator(dir / "tokens")) {
    if (entry.path().extension() == ".safetensors") files.push_back(entry.path());
  }
  std::sort(files.begin(), files.end());
  return files;
}

}  // namespace

TEST_CASE("token files: hold the documents' ids, one folder per text and tokenizer") {
  TempDir dir;
  const auto want = write_documents(dir / "text.txt");
  auto options = options_of(dir);
  const auto stream = data::open_token_files(options, stories());
  CHECK(ids_of(stream) == want);
  CHECK(stream.documents() == 300);
  CHECK(token_files(dir).size() > 5);
  CHECK(stream.bytes_before(0) == 0);
  const auto bytes = static_cast<int64_t>(fs::file_size(dir / "text.txt")) - 300 * 4;
  CHECK(stream.bytes_before(stream.tokens()) == bytes);
  for (int64_t t = 0; t < stream.tokens(); ++t) REQUIRE(stream.bytes_before(t) <= stream.bytes_before(t + 1));

  const auto before = token_files(dir);
  const auto time = fs::last_write_time(before.front());
  CHECK(ids_of(data::open_token_files(options, stories())) == want);
  CHECK(fs::last_write_time(before.front()) == time);  // nothing was made again
  options.tokenizer_hash = "other";
  data::open_token_files(options, stories());
  CHECK(token_files(dir).size() == 2 * before.size());
}

TEST_CASE("token files: what was stopped goes on to the same ids") {
  TempDir dir;
  const auto want = write_documents(dir / "text.txt");
  const auto options = options_of(dir);
  data::open_token_files(options, stories());
  auto files = token_files(dir);
  // As a kill leaves it: some token files, no index.
  fs::remove(files.front().parent_path() / "index.json");
  const auto time = fs::last_write_time(files[2]);
  for (size_t i = 3; i < files.size(); ++i) fs::remove(files[i]);
  CHECK(ids_of(data::open_token_files(options, stories())) == want);
  CHECK(fs::last_write_time(files[2]) == time);

  fs::remove_all(dir / "tokens");
  request_stop();
  CHECK_THROWS_AS(data::open_token_files(options, stories()), Interrupted);
  request_stop(false);
  CHECK(ids_of(data::open_token_files(options, stories())) == want);
}

TEST_CASE("token files: separators and bad texts") {
  using Ids = std::vector<int64_t>;
  const Ids plain = data::document_ids("Lily", stories(), "");
  Ids with = plain;
  with.insert(with.begin(), *stories().special_ids().bos);
  CHECK(data::document_ids("Lily", stories(), "auto") == with);  // this tokenizer begins a text
  CHECK(contains(message_of([] { data::document_ids("Lily", stories(), "two words"); }), "separator"));

  TempDir dir;
  auto options = options_of(dir);
  io::write_file(dir / "text.txt", "fine ## \xff\xfe ## fine");
  const auto message = message_of([&] { data::open_token_files(options, stories()); });
  CHECK(contains(message, "text.txt, line 1"));
  io::write_file(dir / "text.txt", "##  ##\n");
  CHECK(contains(message_of([&] { data::open_token_files(options, stories()); }), "holds no text"));
  write_documents(dir / "text.txt");
  data::open_token_files(options, stories());
  const auto file = token_files(dir).front();
  fs::resize_file(file, fs::file_size(file) / 2);
  CHECK(contains(message_of([&] { data::open_token_files(options, stories()); }), file.filename().string()));
}

TEST_CASE("blocks: each token is counted once, behind as many as the stride leaves") {
  auto stream = std::make_shared<data::TokenStream>();
  stream->append(torch::arange(100, 150, torch::kInt32), torch::tensor({{30, 90}, {20, 41}}, torch::kInt64));
  stream->append(torch::arange(150, 187, torch::kInt32), torch::tensor({{37, 370}}, torch::kInt64));
  for (const auto& [length, stride] :
       {std::pair<int64_t, int64_t>{10, 10}, {10, 3}, {16, 1}, {100, 100}, {86, 5}}) {
    CAPTURE(length, stride);
    const data::BlockSource source(stream, 0, 87, length, stride);
    std::map<int64_t, int64_t> behind;  // target -> tokens that it had before it
    int64_t counted = 0, bytes = 0;
    for (int64_t row = 0; row < source.size(); ++row) {
      const auto batch = source.collate({row}, data::Task::language_modeling, {});
      CHECK(batch.lengths == std::vector<int64_t>{source.length(row)});
      int64_t here = 0;
      for (int64_t i = 0; i < source.length(row); ++i) {
        const auto target = batch.targets[i].item<int64_t>();
        if (target == data::kNoTarget) continue;
        ++here;
        CHECK(target == batch.token_ids[i].item<int64_t>() + 1);
        CHECK(behind.emplace(target, i + 1).second);
      }
      CHECK(here == source.counted(row));
      counted += here;
      bytes += source.bytes(row);
    }
    CHECK(counted == 86);
    CHECK(bytes == 501 - stream->bytes_before(1));
    for (const auto& [target, tokens] : behind) {
      CHECK(tokens >= std::min(length - stride + 1, target - 100));
    }
  }
  const data::BlockSource part(stream, 40, 60, 8, 8);
  const auto batch = part.collate({0, 2}, data::Task::language_modeling, {});
  CHECK(batch.token_ids[0].item<int64_t>() == 140);
  CHECK(batch.lengths == std::vector<int64_t>{8, 3});
  CHECK(batch.positions[8].item<int64_t>() == 0);
  CHECK_THROWS_AS(data::BlockSource(stream, 0, 1, 8, 8), UsageError);
  CHECK_THROWS_AS(data::BlockSource(stream, 0, 50, 8, 9), UsageError);
}

TEST_CASE("running text: splits of a config") {
  TempDir dir;
  write_documents(dir / "text.txt");
  config::DataOptions options;
  options.train = options.test = (dir / "text.txt").string();
  options.documents.delimiter = "##";
  options.max_length = 32;
  const auto load = [&](const std::vector<std::string>& wanted) {
    return data::load_running_text(options, stories(), "hash", dir / "cache", wanted);
  };
  const auto splits = load({"train", "validation", "test"});
  CHECK(splits.task == data::Task::language_modeling);
  CHECK(splits.train.size() + splits.validation.size() == splits.test.size());
  CHECK(splits.validation.size() == Approx(0.1 * static_cast<double>(splits.test.size())).margin(1));
  // The held-out text begins where training ends: no token stands in both.
  const auto last = splits.train.collate({splits.train.size() - 1}), first = splits.validation.collate({0});
  const auto all = splits.test.collate({splits.train.size() - 1, splits.train.size()});
  CHECK(last.token_ids.equal(all.token_ids.narrow(0, 0, last.tokens())));
  CHECK(first.token_ids.equal(all.token_ids.narrow(0, 32, 32)));
  options.limit = 3;
  CHECK(load({"test"}).test.size() == 3);
  options.max_length = 100000;
  CHECK(contains(message_of([&] { load({"train"}); }), "data.max_length"));
  options.test = "";
  CHECK(contains(message_of([&] { load({"test"}); }), "data.test"));
}

TEST_CASE("token count: exact where it is small or the token files are there, else near") {
  TempDir dir;
  auto options = options_of(dir);
  const auto small = write_documents(dir / "text.txt");
  auto count = data::count_tokens(options, stories());
  CHECK(count.tokens == static_cast<int64_t>(small.size()));
  CHECK_FALSE(count.estimated);

  // Denser in tokens towards the end: a look at the beginning alone would miss by far.
  std::string text, lines;
  for (int i = 0; i < 600; ++i) {
    const std::string document = i < 300 ? "Lily was happy. The dog was big." : "Zyx 93 qvk ÄÖ. The jug.";
    text += document + "\n##\n";
    lines += "{\"id\": " + std::to_string(i) + ", \"text\": \"" + document + "\"}\n";
  }
  io::write_file(dir / "text.txt", text);
  io::write_file(dir / "lines.jsonl", lines);
  for (const char* file : {"text.txt", "lines.jsonl"}) {
    CAPTURE(file);
    options.files = {dir / file};
    options.sample_bytes = 1 << 20;
    const auto exact = data::count_tokens(options, stories());
    CHECK_FALSE(exact.estimated);
    options.sample_bytes = 4000;
    count = data::count_tokens(options, stories());
    CHECK(count.estimated);
    CHECK(static_cast<double>(count.tokens) == Approx(static_cast<double>(exact.tokens)).epsilon(0.05));
  }
  CHECK_FALSE(fs::exists(options.cache_dir));  // nothing was written
  const auto stream = data::open_token_files(options, stories());
  count = data::count_tokens(options, stories());
  CHECK(count.tokens == stream.tokens());
  CHECK_FALSE(count.estimated);
}

TEST_CASE("token count: a file that is one document, its characters whole; bad texts") {
  TempDir dir;
  auto options = options_of(dir);
  options.format.delimiter = "";
  options.sample_bytes = 1001;
  std::string text;
  for (int i = 0; i < 500; ++i) text += "Ünïcödé 漢字 🙂 ";
  io::write_file(dir / "text.txt", text);
  const auto count = data::count_tokens(options, stories());
  CHECK(count.estimated);
  const auto exact = static_cast<double>(data::document_ids(text, stories(), "auto").size());
  CHECK(static_cast<double>(count.tokens) == Approx(exact).epsilon(0.03));
  io::write_file(dir / "text.txt", "\xff" + text);
  CHECK(contains(message_of([&] { data::count_tokens(options, stories()); }), "text.txt"));
  io::write_file(dir / "lines.jsonl", "{\"txt\": 1}\n");
  options.files = {dir / "lines.jsonl"};
  CHECK(contains(message_of([&] { data::count_tokens(options, stories()); }), "lines.jsonl, line 1"));
}

TEST_CASE("running text: its size alone, nothing written") {
  TempDir dir;
  write_documents(dir / "text.txt");
  config::DataOptions options;
  options.train = options.test = (dir / "text.txt").string();
  options.documents.delimiter = "##";
  options.max_length = 32;
  const std::vector<std::string> wanted = {"train", "validation", "test"};
  const auto size =
      data::load_running_text(options, stories(), "hash", dir / "cache", wanted, data::TextNeed::size);
  CHECK_FALSE(fs::exists(dir / "cache"));
  const auto splits = data::load_running_text(options, stories(), "hash", dir / "cache", wanted);
  CHECK_FALSE(size.estimated);
  for (const auto& name : wanted) {
    CHECK(size.split(name).size() == splits.split(name).size());
    CHECK(size.split(name).tokens() == splits.split(name).tokens());
  }
  CHECK(contains(message_of([&] { size.train.collate({0}); }), "only its size"));
}
