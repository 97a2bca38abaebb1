#pragma once

#include <cstddef>
#include <cstdint>

/// Sets of code points as the `tokenizers` library knows them (see scripts/unicode_tables.py), in ascending
/// order.
namespace d2dmoe::tokenizer::tables {

struct CodePointRange {
  uint32_t first, last;
};
/// Every `step`-th code point from first to last, and what is said of them.
struct CodePointRun {
  uint32_t first, last, step, value;
};

extern const CodePointRange kControl[], kNonspacingMark[], kPunctuation[], kCombiningMark[], kDecomposes[],
    kMoves[];
extern const size_t kControlSize, kNonspacingMarkSize, kPunctuationSize, kCombiningMarkSize, kDecomposesSize,
    kMovesSize;
extern const CodePointRun kLowercase[], kCategory[];
extern const size_t kLowercaseSize, kCategorySize;

}  // namespace d2dmoe::tokenizer::tables
