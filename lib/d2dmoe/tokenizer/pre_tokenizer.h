#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace d2dmoe::tokenizer {

/// Second step of a tokenizer: cuts the normalised text into the pieces that the model sees one by one.
class PreTokenizer {
 public:
  virtual ~PreTokenizer() = default;
  /// Appends the pieces of `text` (valid UTF-8, not empty) to `pieces`; none is empty. Thread-safe.
  virtual void split(std::string_view text, std::vector<std::string>& pieces) const = 0;
};

/// Several: each cuts the pieces of the one before.
class PreTokenizerSequence final : public PreTokenizer {
 public:
  explicit PreTokenizerSequence(std::vector<std::unique_ptr<PreTokenizer>> steps)
      : steps_(std::move(steps)) {}
  void split(std::string_view text, std::vector<std::string>& pieces) const override;

 private:
  std::vector<std::unique_ptr<PreTokenizer>> steps_;
};

/// BERT's: cuts at white space, every punctuation character is a piece of its own.
class BertPreTokenizer final : public PreTokenizer {
 public:
  void split(std::string_view text, std::vector<std::string>& pieces) const override;
};

/// Cuts at white space.
class WhitespaceSplit final : public PreTokenizer {
 public:
  void split(std::string_view text, std::vector<std::string>& pieces) const override;
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
  void split(std::string_view text, std::vector<std::string>& pieces) const override;

 private:
  Options options_;
};

}  // namespace d2dmoe::tokenizer
