#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "d2dmoe/tokenizer/pattern.h"

namespace d2dmoe::tokenizer {

/// First step of a tokenizer: rewrites the text before it is cut into words.
class Normalizer {
 public:
  virtual ~Normalizer() = default;
  /// Rewrites `text` (valid UTF-8, and valid UTF-8 afterwards). Thread-safe.
  virtual void normalize(std::string& text) const = 0;
};

/// Several, one after the other.
class NormalizerSequence final : public Normalizer {
 public:
  explicit NormalizerSequence(std::vector<std::unique_ptr<Normalizer>> steps) : steps_(std::move(steps)) {}
  void normalize(std::string& text) const override;

 private:
  std::vector<std::unique_ptr<Normalizer>> steps_;
};

/// BERT's: control characters away, blanks around Chinese characters, accents away, lowercase.
class BertNormalizer final : public Normalizer {
 public:
  struct Options {
    bool clean_text = true;
    bool handle_chinese_chars = true;
    std::optional<bool> strip_accents;  ///< empty = as lowercase
    bool lowercase = true;
  };
  explicit BertNormalizer(Options options) : options_(options) {}
  void normalize(std::string& text) const override;

 private:
  Options options_;
};

/// Each code point to its lowercase form.
class Lowercase final : public Normalizer {
 public:
  void normalize(std::string& text) const override;
};

/// The normalisation forms of Unicode: NFD, NFC, NFKD, NFKC.
class UnicodeForm final : public Normalizer {
 public:
  UnicodeForm(bool compatible, bool composed) : compatible_(compatible), composed_(composed) {}
  void normalize(std::string& text) const override;

 private:
  bool compatible_, composed_;
};

/// Drops combining marks; accents only go where the text is decomposed before.
class StripAccents final : public Normalizer {
 public:
  void normalize(std::string& text) const override;
};

/// Drops white space at the ends.
class StripBlanks final : public Normalizer {
 public:
  StripBlanks(bool left, bool right) : left_(left), right_(right) {}
  void normalize(std::string& text) const override;

 private:
  bool left_, right_;
};

/// Puts a text before a text that is not empty.
class PrependText final : public Normalizer {
 public:
  explicit PrependText(std::string prefix) : prefix_(std::move(prefix)) {}
  void normalize(std::string& text) const override;

 private:
  std::string prefix_;
};

/// Puts a text in the place of every match of a pattern.
class ReplacePattern final : public Normalizer {
 public:
  ReplacePattern(Pattern pattern, std::string content)
      : pattern_(std::move(pattern)), content_(std::move(content)) {}
  void normalize(std::string& text) const override;

 private:
  Pattern pattern_;
  std::string content_;
};

/// sentencepiece's "nmt": drops control characters, other white space becomes a blank.
class Nmt final : public Normalizer {
 public:
  void normalize(std::string& text) const override;
};

/// Writes each byte as one printable character (see byte_alphabet.h).
class ByteLevelNormalizer final : public Normalizer {
 public:
  void normalize(std::string& text) const override;
};

}  // namespace d2dmoe::tokenizer
