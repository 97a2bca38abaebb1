#include "d2dmoe/data/block_source.h"

#include <torch/types.h>

#include <algorithm>
#include <cmath>

#include "d2dmoe/core/error.h"
#include "d2dmoe/data/token_count.h"

namespace d2dmoe::data {
namespace {

namespace fs = std::filesystem;

/// Tokens of a stream, or of a text of which only the number of tokens is known.
struct Range {
  std::shared_ptr<const TokenStream> stream;
  int64_t begin = 0, end = 0;
  bool estimated = false;
};

class Opener {
 public:
  Opener(const config::DataOptions& options, const tokenizer::Tokenizer& tokenizer,
         std::string tokenizer_hash, const fs::path& cache_dir, TextNeed need)
      : options_(options),
        tokenizer_(tokenizer),
        hash_(std::move(tokenizer_hash)),
        cache_dir_(cache_dir),
        need_(need) {}

  Range open(const std::string& path, const char* name) const {
    D2D_CHECK_USAGE(
        !path.empty(),
        "[data] 'data.{}': no file is given, must be a text or JSONL file or a folder of them. Hint: "
        "--set data.{}=FILE",
        name, name);
    TokenFileOptions files;
    files.files = text_files(path, options_.format);
    files.format = {options_.format, options_.documents.delimiter, options_.text};
    files.separator = options_.documents.separator;
    files.tokenizer_hash = hash_;
    files.cache_dir = cache_dir_;
    const Range range = need_ == TextNeed::tokens ? tokens_of(files) : size_of(files);
    D2D_CHECK_USAGE(range.end >= 2, "[data] '{}': holds {} token, must hold at least 2", path, range.end);
    return range;
  }

  Dataset dataset(const Range& range, int64_t stride) const {
    const Dataset all(std::make_shared<BlockSource>(range.stream, range.begin, range.end, options_.max_length,
                                                    stride > 0 ? stride : options_.max_length),
                      Task::language_modeling);
    return options_.limit > 0 ? all.first(options_.limit) : all;
  }

 private:
  Range tokens_of(const TokenFileOptions& files) const {
    auto stream = std::make_shared<const TokenStream>(open_token_files(files, tokenizer_));
    return {stream, 0, stream->tokens()};
  }
  Range size_of(const TokenFileOptions& files) const {
    const auto count = count_tokens(files, tokenizer_);
    return {nullptr, 0, count.tokens, count.estimated};
  }

  const config::DataOptions& options_;
  const tokenizer::Tokenizer& tokenizer_;
  std::string hash_;
  fs::path cache_dir_;
  TextNeed need_;
};

/// The last share of the training text, in whole blocks.
std::pair<Range, Range> cut(const Range& all, double share, int64_t length, const std::string& path) {
  const int64_t blocks = (all.end - all.begin) / length;
  const auto held_out = std::max<int64_t>(1, std::llround(share * static_cast<double>(blocks)));
  D2D_CHECK_USAGE(blocks > held_out,
                  "[data] '{}': has {} blocks of data.max_length {} tokens, too few to hold some out for "
                  "validation. Hint: give data.validation, or lower data.max_length",
                  path, blocks, length);
  const int64_t middle = all.begin + (blocks - held_out) * length;
  return {{all.stream, all.begin, middle, all.estimated}, {all.stream, middle, all.end, all.estimated}};
}

}  // namespace

BlockSource::BlockSource(std::shared_ptr<const TokenStream> stream, int64_t begin, int64_t end,
                         int64_t length, int64_t stride)
    : stream_(std::move(stream)), begin_(begin), end_(end), length_(length), stride_(stride) {
  D2D_CHECK_USAGE(end - begin >= 2, "[data] 'running text': has {} tokens, must have at least 2",
                  end - begin);
  D2D_CHECK_USAGE(stride >= 1 && stride <= length,
                  "[data] 'data.documents.stride': got {}, must be from 1 to data.max_length {}", stride,
                  length);
  const int64_t rows = end - begin - 1;  // the last token has nothing to predict
  windows_ = rows <= length ? 1 : 1 + (rows - length + stride - 1) / stride;
}

int64_t BlockSource::length(int64_t row) const {
  return std::min(length_, end_ - 1 - start(row));
}

int64_t BlockSource::bytes(int64_t row) const {
  D2D_CHECK(stream_, "[data] 'running text': only its size is known, no bytes can be counted");
  const int64_t first = start(row) + uncounted(row) + 1, last = start(row) + length(row) + 1;
  return stream_->bytes_before(last) - stream_->bytes_before(first);
}

Batch BlockSource::collate(const std::vector<int64_t>& rows, Task /*task*/,
                           std::optional<uint64_t> /*augment*/) const {
  D2D_CHECK(stream_, "[data] 'running text': only its size is known, no tokens can be taken");
  Batch batch;
  int64_t total = 0;
  for (const int64_t row : rows) {
    batch.lengths.push_back(length(row));
    total += batch.lengths.back();
  }
  batch.token_ids = torch::empty({total}, torch::kInt64);
  batch.type_ids = torch::zeros({total}, torch::kInt64);
  batch.positions = torch::empty({total}, torch::kInt64);
  batch.targets = torch::empty({total}, torch::kInt64);
  auto* ids = batch.token_ids.mutable_data_ptr<int64_t>();
  auto* positions = batch.positions.mutable_data_ptr<int64_t>();
  auto* targets = batch.targets.mutable_data_ptr<int64_t>();
  for (const int64_t row : rows) {
    const int64_t count = length(row);
    stream_->copy(start(row), count, ids);
    stream_->copy(start(row) + 1, count, targets);
    std::fill_n(targets, std::min(count, uncounted(row)), kNoTarget);
    for (int64_t i = 0; i < count; ++i) positions[i] = i;
    ids += count;
    positions += count;
    targets += count;
  }
  return batch;
}

Splits load_running_text(const config::DataOptions& options, const tokenizer::Tokenizer& tokenizer,
                         const std::string& tokenizer_hash, const fs::path& cache_dir,
                         const std::vector<std::string>& wanted, TextNeed need) {
  const auto wants = [&](const char* name) {
    return std::find(wanted.begin(), wanted.end(), name) != wanted.end();
  };
  const auto& documents = options.documents;
  const Opener opener(options, tokenizer, tokenizer_hash,
                      documents.cache_dir.empty() ? cache_dir : fs::path(documents.cache_dir), need);
  Range train, validation, test;
  const bool cuts = options.validation.empty() && (wants("train") || wants("validation"));
  if (wants("train") || cuts) train = opener.open(options.train, "train");
  if (cuts)
    std::tie(train, validation) = cut(train, options.validation_share, options.max_length, options.train);
  if (wants("validation") && !cuts) validation = opener.open(options.validation, "validation");
  if (wants("test")) test = opener.open(options.test, "test");
  Splits splits;
  splits.task = Task::language_modeling;
  splits.estimated = train.estimated || validation.estimated || test.estimated;
  if (wants("train")) splits.train = opener.dataset(train, options.max_length);
  if (wants("validation")) splits.validation = opener.dataset(validation, documents.stride);
  if (wants("test")) splits.test = opener.dataset(test, documents.stride);
  return splits;
}

}  // namespace d2dmoe::data
