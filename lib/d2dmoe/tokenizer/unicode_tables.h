#pragma once

#include <cstddef>
#include <cstdint>

/// Sets of code points as the `tokenizers` library knows them (see scripts/unicode_tables.py), in ascending
/// order.
namespace d2dmoe::tokenizer::tables {

struct CodePointRange {
  uint32_t first, last;
};
struct LowercaseRun {
  uint32_t first, last, step, delta;
};

extern const CodePointRange kControl[], kNonspacingMark[], kPunctuation[], kLetter[], kNumber[];
extern const size_t kControlSize, kNonspacingMarkSize, kPunctuationSize, kLetterSize, kNumberSize;
extern const LowercaseRun kLowercase[];
extern const size_t kLowercaseSize;

}  // namespace d2dmoe::tokenizer::tables
