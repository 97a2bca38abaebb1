#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "d2dmoe/data/documents.h"
#include "d2dmoe/data/token_stream.h"
#include "d2dmoe/tokenizer/tokenizer.h"

namespace d2dmoe::data {

/// Running text as it is tokenised once and for all.
struct TokenFileOptions {
  std::vector<std::filesystem::path> files;
  DocumentFormat format;
  std::string separator = "auto";  ///< see config::DocumentOptions
  std::string tokenizer_hash;      ///< of the tokenizer's files
  std::filesystem::path cache_dir;
  int64_t shard_bytes = int64_t{32} << 20;  ///< text of one token file
  int64_t sample_bytes = int64_t{1} << 19;  ///< text that an estimate reads, see count_tokens()
};

/// The token ids of the files' documents, mapped from token files. These are made on the first call, on all
/// threads, in a folder of cache_dir that is named by the tokenizer's hash, the files (path, size, time) and
/// the format; a stopped call goes on behind its last whole token file.
/// @throws UsageError   no text in the files; a separator that is no token
/// @throws Error        a file cannot be read or is not UTF-8 (named with its line); the disk is full
/// @throws Interrupted  a stop was asked for
TokenStream open_token_files(const TokenFileOptions& options, const tokenizer::Tokenizer& tokenizer);

/// The token files that an earlier open_token_files() made for these texts; nothing where it did not end.
/// @throws Error  one of them is broken
std::optional<TokenStream> find_token_files(const TokenFileOptions& options);

/// The ids of one document, parted from its neighbours as `separator` says.
std::vector<int64_t> document_ids(const std::string& text, const tokenizer::Tokenizer& tokenizer,
                                  const std::string& separator);

}  // namespace d2dmoe::data
