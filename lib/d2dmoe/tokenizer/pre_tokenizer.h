#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "d2dmoe/tokenizer/pattern.h"

namespace d2dmoe::tokenizer {

/// A part of the text that the model will see by itself.
struct TextPiece {
  std::string text;
  bool at_start = false;  ///< it begins where the text begins
};

/// Second step of a tokenizer: cuts the normalised text into the pieces that the model sees one by one.
class PreTokenizer {
 public:
  virtual ~PreTokenizer() = default;
  /// Appends the pieces of `text` (valid UTF-8, not empty) to `pieces`; none is empty. Thread-safe.
  /// @param at_start  `text` begins where the whole text begins
  virtual void split(std::string_view text, bool at_start, std::vector<TextPiece>& pieces) const = 0;
};

/// Several: each cuts the pieces of the one before.
class PreTokenizerSequence final : public PreTokenizer {
 public:
  explicit PreTokenizerSequence(std::vector<std::unique_ptr<PreTokenizer>> steps)
      : steps_(std::move(steps)) {}
  void split(std::string_view text, bool at_start, std::vector<TextPiece>& pieces) const override;

 private:
  std::vector<std::unique_ptr<PreTokenizer>> steps_;
};

/// BERT's: cuts at white space, every punctuation character is a piece of its own.
class BertPreTokenizer final : public PreTokenizer {
 public:
  void split(std::string_view text, bool at_start, std::vector<TextPiece>& pieces) const override;
};

/// GPT-2's and RoBERTa's: cuts with GPT-2's regular expression and writes each byte as one printable
/// character.
class ByteLevel final : public PreTokenizer {
 public:
  struct Options {
    bool add_prefix_space = true;  ///< put a blank before a text that has none
    bool use_regex = true;         ///< false: the text is one piece
  };
  explicit ByteLevel(Options options) : options_(options) {}
  void split(std::string_view text, bool at_start, std::vector<TextPiece>& pieces) const override;

 private:
  Options options_;
};

/// What becomes of a match that cuts the text.
enum class SplitBehavior {
  removed,               ///< it is dropped
  isolated,              ///< it is a piece
  merged_with_previous,  ///< it ends the piece before it
  merged_with_next,      ///< it begins the piece behind it
  contiguous,            ///< neighbouring matches are one piece
};

/// Cuts at the matches of a pattern.
class Split final : public PreTokenizer {
 public:
  struct Options {
    SplitBehavior behavior = SplitBehavior::isolated;
    bool invert = false;  ///< what lies between matches counts as the match
  };
  Split(Pattern pattern, Options options) : pattern_(std::move(pattern)), options_(options) {}
  void split(std::string_view text, bool at_start, std::vector<TextPiece>& pieces) const override;

 private:
  Pattern pattern_;
  Options options_;
};

/// Cuts at single characters of a kind: white space, punctuation, digits, a delimiter.
class SplitCharacters final : public PreTokenizer {
 public:
  using Test = bool (*)(char32_t code, char32_t delimiter);
  SplitCharacters(Test test, SplitBehavior behavior, char32_t delimiter = 0)
      : test_(test), behavior_(behavior), delimiter_(delimiter) {}
  void split(std::string_view text, bool at_start, std::vector<TextPiece>& pieces) const override;

 private:
  Test test_;
  SplitBehavior behavior_;
  char32_t delimiter_;
};

/// Cuts into words and runs of other characters; white space is dropped.
class WhitespaceWords final : public PreTokenizer {
 public:
  void split(std::string_view text, bool at_start, std::vector<TextPiece>& pieces) const override;
};

/// sentencepiece's: blanks become "▁", one is put in front, and words begin with it.
class Metaspace final : public PreTokenizer {
 public:
  enum class Prepend { always, never, first };
  struct Options {
    std::string replacement = "\xE2\x96\x81";  ///< one character
    Prepend prepend = Prepend::always;         ///< `first`: only before the piece that begins the text
    bool split = true;                         ///< false: only the blanks are written anew
  };
  explicit Metaspace(Options options) : options_(std::move(options)) {}
  void split(std::string_view text, bool at_start, std::vector<TextPiece>& pieces) const override;

 private:
  Options options_;
};

/// Cuts after every so many characters.
class FixedLength final : public PreTokenizer {
 public:
  /// @param length  characters, at least 1
  explicit FixedLength(size_t length) : length_(length) {}
  void split(std::string_view text, bool at_start, std::vector<TextPiece>& pieces) const override;

 private:
  size_t length_;
};

}  // namespace d2dmoe::tokenizer
