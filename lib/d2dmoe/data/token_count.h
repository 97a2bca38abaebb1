#pragma once

#include "d2dmoe/data/token_files.h"

namespace d2dmoe::data {

struct TokenCount {
  int64_t tokens = 0;
  bool estimated = false;
};

/// How many tokens running text has, without making token files: counted where they are there or the text has
/// at most options.sample_bytes, else estimated from parts of that size in all, spread evenly over the files.
/// @throws UsageError  jsonl: a line without the key; a separator that is no token
/// @throws Error       a file cannot be read; what was read of it is not UTF-8
TokenCount count_tokens(const TokenFileOptions& options, const tokenizer::Tokenizer& tokenizer);

}  // namespace d2dmoe::data
