#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

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

/// Canonical decomposition.
class Nfd final : public Normalizer {
 public:
  void normalize(std::string& text) const override;
};

/// Drops nonspacing marks; accents only go where the text is decomposed before.
class StripAccents final : public Normalizer {
 public:
  void normalize(std::string& text) const override;
};

}  // namespace d2dmoe::tokenizer
