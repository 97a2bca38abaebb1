#pragma once

#include <algorithm>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "d2dmoe/config/options.h"
#include "d2dmoe/data/dataset.h"
#include "d2dmoe/data/token_stream.h"
#include "d2dmoe/tokenizer/tokenizer.h"

namespace d2dmoe::data {

/// Windows of a token stream. Every token but the stream's first is counted in exactly one window: the first
/// that predicts it. Documents that share a window see each other, as is usual in training and evaluation.
class BlockSource : public Source {
 public:
  /// @param begin, end  tokens of the stream that are this split; at least two
  /// @param length      token rows of a window; the last may have fewer
  /// @param stride      tokens that a window moves on, 1 … length: a token has at least length - stride
  /// tokens
  ///                    before it, except at the beginning
  /// @param stream      nullptr: only size, lengths and counted tokens are known
  /// @throws UsageError  fewer than two tokens; stride outside its range
  BlockSource(std::shared_ptr<const TokenStream> stream, int64_t begin, int64_t end, int64_t length,
              int64_t stride);

  int64_t size() const override { return windows_; }
  std::string unit() const override { return "blocks"; }
  int64_t length(int64_t row) const override;
  int64_t counted(int64_t row) const override { return length(row) - std::min(length(row), uncounted(row)); }
  int64_t bytes(int64_t row) const override;
  Batch collate(const std::vector<int64_t>& rows, Task task, std::optional<uint64_t> augment) const override;

 private:
  int64_t start(int64_t row) const { return begin_ + row * stride_; }
  int64_t uncounted(int64_t row) const { return row == 0 ? 0 : length_ - stride_; }  // rows seen before

  std::shared_ptr<const TokenStream> stream_;
  int64_t begin_, end_, length_, stride_, windows_ = 0;
};

/// What is needed of running text: its tokens, or only how many they are.
enum class TextNeed { tokens, size };

/// Opens the splits of running text (task language_modeling) as blocks of options.max_length tokens;
/// validation and test windows move on by options.documents.stride.
/// @param wanted          of "train", "validation", "test"; without a file of its own, validation is the last
///                        validation_share of the training text
/// @param tokenizer_hash  see TokenFileOptions
/// @param cache_dir       where options.documents.cache_dir is empty
/// @param need            size: nothing is written; see count_tokens()
/// @throws UsageError  a path is missing or holds too little text
Splits load_running_text(const config::DataOptions& options, const tokenizer::Tokenizer& tokenizer,
                         const std::string& tokenizer_hash, const std::filesystem::path& cache_dir,
                         const std::vector<std::string>& wanted, TextNeed need = TextNeed::tokens);

}  // namespace d2dmoe::data
